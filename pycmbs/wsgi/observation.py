"""``/metrics``, and ``/livez`` and ``/readyz``, which need no authentication."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from webob import Response

from pycmbs import __version__, codec
from pycmbs.errors import EngineUnavailable, InvalidRequest
from pycmbs.metrics import table
from pycmbs.metrics.exposition import as_document, exposed
from pycmbs.metrics.processes import processes
from pycmbs.metrics.reports import Counts, Reporter, as_counts, counted, from_json, gauges
from pycmbs.services.access.access import Access
from pycmbs.services.access.rules import METRICS
from pycmbs.services.delivery.readiness import ReadinessService
from pycmbs.services.engine_link import EngineLink
from pycmbs.wsgi.exchange import Exchange
from pycmbs.wsgi.negotiation import JSON_TYPES

log = logging.getLogger(__name__)

REPORT_SECONDS = 1.0
"""Between two reports of a front's counts."""
_SECONDS = 2.0
"""How long the engine may take to answer with all numbers."""
_MEMBERS_SECONDS = 10.0
"""The same with those of each member."""
_JSON = "application/json"
_NO_STORE = ("Cache-Control", "no-store")


class Observation:
    """Answers from this process, the engine, and the supervisor's file of processes."""

    def __init__(
        self, engine: EngineLink, access: Access, readiness: ReadinessService, *, record: Path, store: str
    ) -> None:
        """``record``: the supervisor's file of processes. ``store``: the kind of store."""
        self._engine = engine
        self._access = access
        self._readiness = readiness
        self._record = record
        self._store = store
        self._reporter = Reporter()
        self.handlers = {"/livez": self.livez, "/readyz": self.readyz, "/metrics": self.metrics}
        """The handlers by path; all are for GET."""

    def drain(self) -> None:
        """Note that this process is about to stop."""
        self._readiness.draining = True

    def report_for_ever(self, sleep: Callable[[float], None]) -> None:
        """For ever: report to the engine what was counted. A report that fails is repeated later."""
        while True:
            sleep(REPORT_SECONDS)
            try:
                answer = self._engine.call("report", self._reporter.report(), seconds=REPORT_SECONDS)
                self._reporter.taken(answer["number"])
            except EngineUnavailable as exc:
                log.debug("what was counted is told later: %s", exc)
            except Exception:
                log.exception("what was counted cannot be told")

    def livez(self, _exchange: Exchange) -> Response:
        """200 while this process answers; checks neither store nor engine."""
        return _answer({"alive": True})

    def readyz(self, _exchange: Exchange) -> Response:
        """200 while messages are accepted and sent, else 503 with the reasons."""
        found = self._readiness.now()
        reasons = [{"code": code, "message": text} for code, text in found.reasons.items()]
        return _answer({"ready": not reasons, "reasons": reasons, "notes": found.notes}, 503 if reasons else 200)

    def metrics(self, exchange: Exchange) -> Response:
        """All numbers, for Prometheus or as JSON. Raises Forbidden, InvalidRequest."""
        self._access.check_kind("read", METRICS)
        counts = self._counts(members=_wants_members(exchange.environ.get("QUERY_STRING", "")))
        accept = exchange.environ.get("HTTP_ACCEPT", "")
        if "json" in accept and exchange.rendition.content_type in JSON_TYPES:
            return _answer(as_document(counts))
        body, type = exposed(counts, accept)
        return _bytes(body, type)

    def _counts(self, *, members: bool) -> Counts:
        """The engine's sum; while it does not answer, the numbers of this process."""
        found = processes(self._record)
        try:
            parameters = {"report": self._reporter.report(), "members": members}
            answer = self._engine.call("metrics", parameters, seconds=_MEMBERS_SECONDS if members else _SECONDS)
            self._reporter.taken(answer["number"])
            found |= from_json(answer["counts"])
        except EngineUnavailable as exc:
            log.info("metrics are of this process only: %s", exc)
            found |= counted() | as_counts(gauges())
            found[table.PROCESS_UP.name, ("engine",)] = [0.0]
        found[table.BUILD_INFO.name, (__version__, self._store)] = [1.0]
        return found


def _wants_members(query: str) -> bool:
    """Raises InvalidRequest for an unknown parameter."""
    asked = parse_qsl(query, keep_blank_values=True)
    for name, value in asked:
        if (name, value) not in (("members", "1"), ("members", "0")):
            raise InvalidRequest(
                f"metrics have no parameter {name[:100]}={value[:100]}",
                hint="members=1 adds each member's.",
                parameter=name[:100],
            )
    return ("members", "1") in asked


def _answer(document: dict[str, Any], status: int = 200) -> Response:
    response = _bytes(codec.dumps(document) + b"\n", _JSON, status)
    if status == 503:
        response.headers["Retry-After"] = "1"
    return response


def _bytes(body: bytes, type: str, status: int = 200) -> Response:
    fields = [("Content-Type", type), ("Content-Length", str(len(body))), _NO_STORE]
    return Response(app_iter=[body], status=status, headerlist=fields)
