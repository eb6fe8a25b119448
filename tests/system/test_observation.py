"""What those who run brokers look at: metrics are what was done, health says whether to send something here."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.harness import Broker, raw, wait_until
from tests.system.test_users import add, ask, on_every_front

Start = Callable[..., Broker]


class Scraper:
    """Reads the metrics of a broker, as a Prometheus does."""

    def __init__(self, broker: Broker, query: str = "") -> None:
        self._url = broker.url + "/metrics" + query

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        answer = requests.get(self._url, timeout=10)
        assert answer.status_code == 200, answer.text
        families = text_string_to_metric_families(answer.text)
        samples = [one for family in families for one in family.samples if one.name == f"pycmbs_{name}"]
        return sum(one.value for one in samples if labels.items() <= one.labels.items())

    def becomes(self, value: float, name: str, **labels: str) -> None:
        """Wait until it is that: a front reports what it counted within a second."""
        found: list[float] = []

        def is_that() -> bool:
            found[:] = [self.value(name, **labels)]
            return found == [value]

        try:
            wait_until(is_that, 20)
        except AssertionError:
            raise AssertionError(f"{name}{labels} is {found}, not {value}") from None


def test_counters_are_what_was_done(start_broker: Start) -> None:
    """Messages that are accepted, sent, delivered, received, refused and executed are counted where that happens, once."""
    rome = start_broker("--allow", "* read member")
    paris = start_broker()
    rome.become("l1", "l2", topics=["network.>"])
    paris.become("l1", "l2", neighbors=[rome.socket("l1")])
    paris.ok("POST", f"/cmbs/member/{paris.member}?action=check_neighbors", {})
    here, there = Scraper(paris), Scraper(rome)
    begun = 3  # start_l1, start_l2, check_neighbors, at whichever front: each reports once a second
    here.becomes(begun, "http_requests_total", route="action", method="POST", status="200")

    for number in range(5):
        assert paris.send(paris.message("l2", {"number": number}), "l2")["state"] == "delivered"
    operation = {"operation": "read", "target": f"/cmbs/member/{rome.member}"}
    assert paris.send(paris.message("l2", operation, executable="true"), "l2")["state"] == "executed"
    refused = {"operation": "delete", "target": f"/cmbs/member/{rome.member}"}
    assert paris.send(paris.message("l2", refused, executable="true"), "l2")["state"] == "failed"
    nobody = paris.message("l31", "to nobody", providers=["nobody"])
    assert paris.send(nobody, "l31")["state"] == "failed"
    assert paris.request("GET", "/cmbs/message/there-is-none").status_code == 404
    raw(paris, b"what\r\n\r\n")

    here.becomes(7, "messages_accepted_total", layer="l2")
    here.becomes(1, "messages_accepted_total", layer="l31")
    here.becomes(5, "deliveries_total", layer="l2", outcome="delivered")
    here.becomes(1, "deliveries_total", layer="l2", outcome="executed")
    here.becomes(1, "deliveries_total", layer="l2", outcome="failed")
    here.becomes(1, "deliveries_total", layer="l31", outcome="failed")
    here.becomes(7, "delivery_seconds_count", layer="l2")
    here.becomes(0, "outbox_deliveries")
    here.becomes(begun + 8, "http_requests_total", route="action", method="POST", status="200")
    here.becomes(1, "errors_total", code="unknown-entity")
    here.becomes(1, "http_requests_total", route="unread", status="400")
    here.becomes(1, "members", state="alive")
    there.becomes(7, "received_total", layer="l2", result="stored")
    there.becomes(1, "executions_total", what="operation", outcome="executed")
    there.becomes(1, "executions_total", what="operation", outcome="refused")
    there.becomes(1, "execution_seconds_count", what="operation")
    there.becomes(1, "listening", layer="l2")
    there.becomes(0, "listening", layer="l4")
    assert here.value("attempts_total", layer="l2") - here.value("retries_total", layer="l2") == 7
    assert here.value("probes_total", outcome="answered") >= 1
    assert here.value("store_commit_seconds_count") > 0
    wait_until(lambda: here.value("store_documents", type="entity") >= 10, 30)  # counted now and then
    assert here.value("process_up", process="engine") == 1
    assert here.value("process_resident_bytes", process="front-0") > 1_000_000
    assert Scraper(paris, "?members=1").value("member_up", member=rome.member) == 1
    assert here.value("member_up") == 0, "members are told to who asks for them"


def test_metrics_outlive_processes(start_broker: Start) -> None:
    """What a front counted stays when it is killed; without the engine each front says what it knows, and that the engine is
    away; afterwards the numbers begin again."""
    broker = start_broker("--workers", "1")
    broker.become()
    scraper = Scraper(broker)
    for _ in range(3):
        broker.message("l2", "hello")
    scraper.becomes(4, "http_requests_total", route="collection", method="POST", status="201")
    made = scraper.value("http_requests_total", method="POST", status="201")
    broker.session.close()

    os.kill(broker.pid("front"), signal.SIGKILL)

    def restarted() -> bool:
        try:
            return scraper.value("process_restarts_total", process="front-0") == 1
        except requests.ConnectionError:
            return False

    wait_until(restarted, 20)
    assert scraper.value("http_requests_total", method="POST", status="201") == made

    engine = broker.pid("engine")
    os.kill(engine, signal.SIGSTOP)
    scraper.becomes(0, "process_up", process="engine")
    assert requests.get(broker.url + "/readyz", timeout=10).status_code == 503
    assert requests.get(broker.url + "/livez", timeout=10).status_code == 200
    os.kill(engine, signal.SIGKILL)
    scraper.becomes(1, "process_restarts_total", process="engine")
    wait_until(lambda: requests.get(broker.url + "/readyz", timeout=10).status_code == 200, 20)
    scraper.becomes(0, "http_requests_total", method="POST")


def test_who_may_read_metrics_is_asked_and_health_is_not(start_broker: Start) -> None:
    """A reader may; who only publishes may not, unless a rule says so; a load balancer has no password."""
    broker = start_broker("--allow", "user:prometheus read /metrics")
    for name, role in (("reader", "reader"), ("prometheus", "publisher"), ("publisher", "publisher")):
        add(broker.home, name, role)

    def statuses(path: str) -> list[int]:
        return [ask(broker, "GET", path, user=name).status_code for name in ("", "reader", "prometheus", "publisher")]

    on_every_front(lambda: statuses("/metrics") == [401, 200, 200, 403])
    assert statuses("/livez") == statuses("/readyz") == [200] * 4
    assert "/livez" not in (broker.home / "audit.log").read_text()
