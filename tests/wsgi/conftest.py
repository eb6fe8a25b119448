"""A browser for the application."""

from __future__ import annotations

import json
from pathlib import Path
from wsgiref.validate import validator

import pytest
from webob import Request

from pycmbs.broker import application
from pycmbs.config import Settings
from tests.services.world import FakeEngine, FaultyStore, make_broker

JSON = "application/occi+json"


class Front:
    """An application over the memory store, and requests to it."""

    def __init__(self, *, shipped: bool = True, store: FaultyStore | None = None) -> None:
        self.store = store or FaultyStore()
        self.engine = FakeEngine()
        self.broker = make_broker(self.store, self.engine, shipped=shipped)
        settings = Settings(home=Path("/nowhere"), max_body=65536, host="127.0.0.1", port=8090)
        self.application = application(self.broker, settings)

    def request(self, method, path, body=None, **headers):
        """An answer. ``body``: bytes as they are, or what to encode; ``headers`` with underscores, None for none."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {
            "Host": "localhost",
            "Accept": JSON,
            "Content-Type": JSON,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        request = Request.blank(
            path, method=method, headers={name: value for name, value in given.items() if value is not None}
        )
        if data is not None:
            request.body = data
        response = request.get_response(validator(self.application))
        response.body  # noqa: B018 - read to its end, as the validator demands
        response.app_iter.close() if hasattr(response.app_iter, "close") else None
        return response


@pytest.fixture
def front():
    """A broker with its definitions and no member yet."""
    return Front()


@pytest.fixture
def empty():
    """A broker as in 2012: without definitions."""
    return Front(shipped=False)
