"""A browser for the application."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest
from webob import Request

from pycmbs.application import application
from pycmbs.config import Settings
from tests.services.world import FakeEngine, FaultyStore, make_broker

JSON = "application/occi+json"
V12 = JSON + ";version=1.2"
FOLDER = Path(__file__).parents[2] / "json_examples" / "infrastructure"
INFRA = "http://schemas.ogf.org/occi/infrastructure#"
COMPUTE = f'Category: compute; scheme="{INFRA}"; class="kind"\n'


class Front:
    """An application over the memory store, and requests to it."""

    def __init__(self, *, shipped: bool = True, store: FaultyStore | None = None, **settings: Any) -> None:
        """``settings``: of HTTP."""
        self.store = store or FaultyStore()
        self.engine = FakeEngine()
        self.broker = make_broker(self.store, self.engine, shipped=shipped)
        self.application = application(
            self.broker, Settings(**{"home": Path("/nowhere"), "max_body": 65536, "port": 8090, **settings})
        )

    def request(self, method, path, body=None, *, address="127.0.0.1", **headers):
        """An answer. ``body``: bytes as they are, or what to encode; ``headers`` with underscores, None for none;
        ``address``: the client's."""
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
        request.remote_addr = address
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


@pytest.fixture
def cloud(front):
    """A broker with the infrastructure model and the entities of the examples."""
    for name in ("compute", "storage", "network"):
        answer = front.request("POST", "/-/", (FOLDER / f"post_category_{name}.json").read_bytes())
        assert answer.status_code == 200, answer.text
    for name, path in (("storage", "/storage/"), ("network", "/network/"), ("compute_with_links", "/compute/")):
        answer = front.request("POST", path, (FOLDER / f"post_{name}.json").read_bytes())
        assert answer.status_code == 201, answer.text
    return front


def text(front, method, path, body=None, **headers):
    """A request in text/plain."""
    given = {"Accept": "text/plain", "Content_Type": "text/plain", **headers}
    return front.request(method, path, body.encode() if body is not None else None, **given)


def urls(answer):
    """The paths that a listing in text names."""
    lines = answer.text.splitlines()
    assert all(line.startswith("X-OCCI-Location: http://localhost/") for line in lines)
    return [line.partition("localhost")[2] for line in lines]
