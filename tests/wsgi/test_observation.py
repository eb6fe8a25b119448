"""Metrics and health over HTTP."""

from __future__ import annotations

import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pycmbs.errors import EngineUnavailable, StoreUnavailable
from pycmbs.services.delivery import readiness
from tests.harness import wait_until
from tests.wsgi.conftest import Front


@pytest.fixture
def front():
    """A front whose engine has counted nothing."""
    front = Front()
    front.engine.answer = {"number": 0, "counts": []}
    return front


def raising(error):
    """What fails so."""

    def fail(*_arguments, **_named):
        raise error

    return fail


def test_a_scraper_gets_the_text_format(front):
    """Prometheus sends a long Accept; what has none gets the text, too."""
    for accept in ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", None):
        answer = front.request("GET", "/metrics", Accept=accept)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        assert list(text_string_to_metric_families(answer.text))


def test_a_scraper_that_accepts_openmetrics_gets_that(front):
    """Its end is marked, so that a part is not taken for the whole."""
    accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    answer = front.request("GET", "/metrics", Accept=accept)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_json_is_the_same_in_another_form(front):
    """For the page, and for scripts."""
    front.engine.error = EngineUnavailable("gone")
    document = front.request("GET", "/metrics", Accept="application/json").json
    assert document["pycmbs_build_info"]["samples"][0]["value"] == 1
    assert document["pycmbs_http_requests_total"]["type"] == "counter"


def test_what_the_engine_is_not_there_to_say_is_left_out(front):
    """The numbers of this process are told, and that the engine is away: never an error."""
    front.engine.error = EngineUnavailable("gone")
    answer = front.request("GET", "/metrics", Accept=None)
    assert answer.status_code == 200
    assert 'pycmbs_process_up{process="engine"} 0.0' in answer.text


@pytest.mark.parametrize("query", ["?members=2", "?member=1", "?page=1"])
def test_metrics_know_one_parameter(front, query):
    """A mistyped one would leave out what was asked for, silently."""
    assert front.request("GET", "/metrics" + query).status_code == 400


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/readyz"])
def test_they_are_only_read(front, path):
    """Other methods are refused by name, and OPTIONS says which there are."""
    assert front.request("POST", path, {}).status_code == 405
    assert front.request("OPTIONS", path).headers["Allow"] == "GET, HEAD, OPTIONS"
    assert front.request("HEAD", path).status_code == 200


def test_requests_are_counted_by_route_and_not_by_path(front):
    """Whatever paths and methods clients think of, the series are few."""
    front.engine.error = EngineUnavailable("gone")

    def count(**labels):
        document = front.request("GET", "/metrics", Accept="application/json").json
        found = document["pycmbs_http_requests_total"]["samples"]
        return sum(one["value"] for one in found if labels.items() <= one["labels"].items())

    before = count(route="entity", method="GET", status="404")
    for path in ("/cmbs/member/x", "/y", "/z"):
        front.request("GET", path)
    assert count(route="entity", method="GET", status="404") == before + 3
    before = count(method="other")
    front.request("TRACE", "/cmbs/member/x")
    assert count(method="other") == before + 1


def test_ready_without_a_member_is_said(front):
    """It takes in what describes one."""
    answer = front.request("GET", "/readyz")
    assert answer.status_code == 200
    assert answer.json["ready"] is True
    assert "no member yet" in answer.json["notes"][0]


def test_not_ready_without_the_store(front):
    """A load balancer sends nothing here then, and a person reads why."""
    front.store.ready = raising(StoreUnavailable("CouchDB at http://10.0.0.7:5984/secret is away"))
    answer = front.request("GET", "/readyz")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert answer.json["reasons"] == [{"code": "store", "message": "the store does not answer"}], (
        "nor is told where it is"
    )


def test_not_ready_without_the_engine(front):
    """What is accepted would not be sent."""
    front.engine.error = EngineUnavailable("the engine gives no sign of life")
    answer = front.request("GET", "/readyz")
    assert answer.status_code == 503
    assert [one["code"] for one in answer.json["reasons"]] == ["engine"]


def test_not_ready_when_the_outbox_is_nearly_full(front, monkeypatch):
    """Before clients get a 503 for it."""
    monkeypatch.setattr(type(front.broker.bound), "share", lambda _self: 0.951)
    assert front.request("GET", "/readyz").json["reasons"] == [{"code": "outbox", "message": "the outbox is 95% full"}]


def test_not_ready_while_it_drains(front):
    """What is under way is finished, and nothing more should come."""
    front.application.observation.drain()
    answer = front.request("GET", "/readyz")
    assert [one["code"] for one in answer.json["reasons"]] == ["draining"]


def test_a_store_that_hangs_is_not_waited_for(front, monkeypatch):
    """The answer comes in time, and however many ask there is one question to the store."""
    monkeypatch.setattr(readiness, "SECONDS", 0.05)
    over, asked = threading.Event(), []
    front.store.ready = lambda: asked.append(over.wait(10))
    for _ in range(3):
        answer = front.request("GET", "/readyz")
        assert answer.json["reasons"][0] == {"code": "store", "message": "the store does not answer within 0.05 s"}
    over.set()
    wait_until(lambda: asked == [True])
    wait_until(lambda: front.request("GET", "/readyz").status_code == 200)


def test_alive_asks_nobody(front):
    """Neither the store nor the engine: who restarts processes must not do so when those are away."""
    front.engine.error = EngineUnavailable("gone")
    front.store.ready = raising(StoreUnavailable("gone"))
    assert front.request("GET", "/livez").status_code == 200
