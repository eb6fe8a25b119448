"""A message is made and sent with one call: what a client sees of it between two sites, and what a kill leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable

import requests

from tests.harness import JSON, Broker, wait_until

Start = Callable[..., Broker]
THEN = "/cmbs/message/?then=send_l32"


def entity(content: object) -> dict[str, object]:
    """A message about a topic."""
    return {
        "kind": "http://houssem.org/cmbs#message",
        "mixins": ["http://houssem.org/cmbs#l32"],
        "attributes": {"cmbs": {"message": {"topics": ["net.link"], "message_content": content}}},
    }


def site(start_broker: Start) -> tuple[Broker, Broker]:
    """Two brokers that know each other, the second interested in the topic."""
    flags = ("--workers", "2", "--retry-first", "0.1", "--retry-most", "0.5")
    there = start_broker(*flags)
    there.become("l1", "l32", topics=["net.>"])
    here = start_broker(*flags)
    here.become("l1", "l32", neighbors=[there.socket("l1")])
    here.ok("POST", f"/cmbs/member/{here.member}?action=check_neighbors", {})
    return here, there


def test_one_call_sends_and_tells_who_got_it(start_broker: Start) -> None:
    """POST, 201, and the ledger: to the other site and back."""
    here, there = site(start_broker)

    def sent() -> requests.Response | None:  # the other front may not know the members yet
        answer = here.request("POST", THEN + "&wait=10", entity("down"))
        assert answer.status_code == 201, answer.text
        return answer if answer.json()["recipients"] else None

    answer = wait_until(sent)
    assert answer.json()["state"] == "delivered", answer.text
    path = answer.headers["Location"].removeprefix(here.url)
    assert here.attributes(path, "message")["state"] == "delivered"
    assert there.attributes(path, "message")["message_content"] == "down"


def test_a_kill_leaves_a_message_whole_or_not_at_all(start_broker: Start) -> None:
    """What was answered is there, and arrives; nothing is there that was made and not sent."""
    here, there = site(start_broker)
    accepted: list[str] = []

    def post() -> None:
        with requests.Session() as session:
            try:
                while True:
                    answer = session.post(here.url + THEN, json=entity(len(accepted)), headers=JSON, timeout=10)
                    assert answer.status_code == 201, answer.text
                    accepted.append(answer.headers["Location"].removeprefix(here.url))
            except requests.RequestException:
                return

    threads = [threading.Thread(target=post) for _ in range(6)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(accepted) >= 40, 60)
    here.kill()
    for thread in threads:
        thread.join()
    here.start()
    listed = [url.removeprefix(here.url) for url in here.get("/cmbs/message/")["X-OCCI-Location"]]
    assert set(accepted) <= set(listed)
    for path in listed:
        said = here.attributes(path, "message")
        assert said["state"] in ("sending", "delivered", "failed"), said
        assert said["deliveries"], "made, and not sent"
    known = [path for path in listed if here.attributes(path, "message")["deliveries"][0]["member"]]
    wait_until(lambda: all(there.request("GET", path).status_code == 200 for path in known), 30, "all arrive")
