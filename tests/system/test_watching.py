"""``?watch`` at a running broker with several processes: events arrive, whichever front made the change, and none is lost."""

import json
import threading
import time

import pytest
import requests

from tests.harness import Broker, free_socket, wait_until

MESSAGES = "/cmbs/message/"


class Listener(threading.Thread):
    """Reads events until the stream ends."""

    def __init__(self, url, **headers):
        super().__init__(daemon=True)
        self.answer = requests.get(url, stream=True, timeout=60, headers=headers)
        assert self.answer.status_code == 200
        self.events = []
        self.ids = []
        self.start()

    def run(self):
        """One line after the other."""
        try:
            for line in self.answer.iter_lines(chunk_size=1):
                name, _, value = line.decode().partition(": ")
                if name == "id":
                    self.ids.append(value)
                elif name == "data":
                    self.events.append(json.loads(value))
        except requests.RequestException:
            pass


@pytest.fixture
def broker(tmp_path):
    """A broker with two fronts."""
    broker = Broker(tmp_path / "home", "--workers", "2").start()
    yield broker
    broker.stop()


def post(broker, content):
    """A message."""
    broker.request("POST", MESSAGES, {"attributes": {"cmbs": {"message": {"message_content": content}}}})


def contents(listener):
    """What the messages say that it was told of."""
    return [one["attributes"]["cmbs.message.message_content"] for one in listener.events]


def test_events_come_from_every_front_and_are_resumed_over_a_restart(broker):
    """In order, each once; a client goes on from the last id that it has, at a broker that was started again."""
    listeners = [Listener(broker.url + MESSAGES + "?watch", **{"Accept-Encoding": "gzip"}) for _ in range(3)]
    for number in range(20):
        post(broker, str(number))
    wait_until(lambda: all(len(one.events) >= 20 for one in listeners))
    assert [contents(one) for one in listeners] == [[str(number) for number in range(20)]] * 3
    began = time.monotonic()
    assert broker.stop() == 0
    assert time.monotonic() - began < 8
    for one in listeners:
        one.join(10)
        assert not one.is_alive()
    broker.start()
    post(broker, "later")
    again = Listener(broker.url + MESSAGES + "?watch", **{"Last-Event-ID": listeners[0].ids[-3]})
    wait_until(lambda: len(again.events) >= 3)
    assert contents(again)[-3:] == ["18", "19", "later"]


def test_a_ledger_is_watched_until_it_is_settled(broker):
    """Rows of the ledger are a part of the message: a change of one is told as one of that."""
    broker.become("l2")
    other = {"local": "false", "l2_socket": free_socket()}
    broker.ok("POST", "/cmbs/member/", {"id": "away", "attributes": {"cmbs": {"member": other}}})
    path = broker.message("l2", "x", deadline=1)
    listener = Listener(broker.url + path + "?watch")
    assert broker.request("POST", path + "?action=send_l2", {}).status_code == 200

    def states():
        return [row["state"] for one in listener.events for row in one["attributes"]["cmbs.message.deliveries"]]

    wait_until(states)
    assert states()[0] in ("pending", "sent")
    wait_until(lambda: states()[-1] not in ("pending", "sent"), 30, "the end of a delivery")
