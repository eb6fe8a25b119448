"""The audit says nothing of what is as it was promised, and a sentence of everything that is not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pycmbs.occi import cmbs
from pycmbs.runtime import ThreadRuntime
from pycmbs.services.records.deliveries import Delivery
from pycmbs.store import open_store
from pycmbs.store.base import Query, Write
from tests.chaos.audit import Audit, Kept, arrivals
from tests.chaos.traffic import Message, Sending

MEMBERS = ("m-0", "m-1", "m-2")
ROUNDS = (100, 200)
"""What the store calls the first and the second."""


@dataclass
class World:
    """Three brokers, of which the first sent messages to the others, and the clients' knowledge of it."""

    messages: list[Message]
    brokers: list[Kept]

    def found(self) -> list[str]:
        """What the audit says."""
        return Audit(self.messages, self.brokers).disagreements()

    def row(self, message: int, site: int) -> dict[str, Any]:
        """Of the newest round of a message."""
        rows = self.brokers[0].rows[self.messages[message].path]
        return next(row for row in rows if row["member"] == MEMBERS[site])

    def lose(self, message: int, site: int) -> None:
        """It never arrived."""
        one = self.messages[message]
        del self.brokers[site].receipts[MEMBERS[0], one.id, ROUNDS[len(one.sendings) - 1]]
        del self.brokers[site].messages[one.path]


def entity(path: str, content: Any, **private: Any) -> dict[str, Any]:
    return {"path": path, "attributes": {cmbs.CONTENT: content, cmbs.ORIGIN: MEMBERS[0]}, "private": private}


def rows(message: Message, round_: int, state: str, **more: Any) -> list[Delivery]:
    return [
        Delivery(
            message.path, round_, index, 2, MEMBERS[site], "", message.layer, round_, 9e9, state, attempts=1, **more
        )
        for index, site in enumerate(sorted(message.recipients))
    ]


@pytest.fixture
def world() -> World:
    """Message 0 was sent, 1 was sent, changed and sent again, 2 calls a handler, 3 was deleted, 4 was never sent."""
    brokers = [Kept(member) for member in MEMBERS]
    messages = [
        Message(0, f"s0-{number}", "l2", kind, frozenset({1, 2}), short=False, attributes={})
        for number, kind in enumerate(("plain", "plain", "effect", "plain", "plain"))
    ]
    order = 0
    for message, times in zip(messages, (1, 2, 1, 1, 0), strict=True):
        brokers[0].messages[message.path] = entity(message.path, message.content(1))
        for number in range(1, times + 1):
            order += 1
            state = "executed" if message.kind == "effect" else "delivered"
            newest = rows(message, ROUNDS[number - 1], state)
            brokers[0].rows[message.path] = [row.body() for row in newest]
            content = message.content(number)
            brokers[0].messages[message.path] = entity(message.path, content, round=ROUNDS[number - 1])
            ledger = [row.entry() for row in newest]
            message.sendings.append(Sending(content, message.recipients, order, ledger=ledger))
            for site in message.recipients:
                brokers[site].messages[message.path] = entity(message.path, content)
                brokers[site].receipts[MEMBERS[0], message.id, ROUNDS[number - 1]] = (order,)
                if message.kind == "effect":
                    brokers[site].effects[message.effect(number)] += 1
    messages[3].deleted = True
    del brokers[0].rows[messages[3].path], brokers[0].messages[messages[3].path]
    return World(messages, brokers)


def test_what_is_as_promised(world: World) -> None:
    """Nothing is said of it; every row was looked at."""
    audit = Audit(world.messages, world.brokers)
    assert audit.disagreements() == []
    assert audit.states == Counter(delivered=8, executed=2)


def twice(world: World) -> None:
    world.brokers[2].effects["s0-2.1"] += 1


def without_being_executed(world: World) -> None:
    del world.brokers[1].effects["s0-2.1"]


def of_an_older_round(world: World) -> None:
    world.brokers[1].messages["/cmbs/message/s0-1"] = entity("/cmbs/message/s0-1", world.messages[1].content(1))


def changed_on_its_way(world: World) -> None:
    world.brokers[1].messages["/cmbs/message/s0-0"] = entity("/cmbs/message/s0-0", "something else")


def denied(world: World) -> None:
    world.row(0, 1).update(state="expired", reason="gave up")
    world.messages[0].short = True


def executed_and_denied(world: World) -> None:
    world.row(2, 1).update(state="failed", reason="it was refused")


def expired_with_nothing_in_its_way(world: World) -> None:
    world.row(0, 1).update(state="expired", reason="gave up")
    world.lose(0, 1)


def stuck(world: World) -> None:
    world.row(0, 1).update(state="sent")
    world.lose(0, 1)


def misdirected(world: World) -> None:
    world.messages[0].recipients = world.messages[0].sendings[0].recipients = frozenset({1})
    world.brokers[0].rows["/cmbs/message/s0-0"].pop()


def sent_by_nobody(world: World) -> None:
    world.brokers[1].messages["/cmbs/message/x"] = entity("/cmbs/message/x", "boo")


def arrived_unsent(world: World) -> None:
    world.brokers[1].receipts[MEMBERS[0], "s0-4", 300] = (9,)


def forgotten_receipt(world: World) -> None:
    del world.brokers[1].receipts[MEMBERS[0], "s0-1", ROUNDS[0]]


def lost_at_its_sender(world: World) -> None:
    del world.brokers[0].rows["/cmbs/message/s0-0"], world.brokers[0].messages["/cmbs/message/s0-0"]


def deleted_and_there(world: World) -> None:
    world.brokers[0].messages["/cmbs/message/s0-3"] = entity("/cmbs/message/s0-3", "", round=ROUNDS[0])


def without_a_ledger(world: World) -> None:
    del world.brokers[0].rows["/cmbs/message/s0-0"]


def rows_of_an_older_round(world: World) -> None:
    older = rows(world.messages[1], ROUNDS[0], "delivered")
    world.brokers[0].rows["/cmbs/message/s0-1"] += [row.body() for row in older]


def overtaken(world: World) -> None:
    world.brokers[1].receipts[MEMBERS[0], "s0-0", ROUNDS[0]] = (5,)


def a_traceback(world: World) -> None:
    world.brokers[
        1
    ].log = "INFO all is well\n| Traceback (most recent call last):\n| ValueError: 1\n2026-01-01T INFO on"


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda world: world.lose(0, 1), "is lost"),
        (twice, "was executed 2 times"),
        (without_being_executed, "is executed for its ledger and was not"),
        (of_an_older_round, "is not of round 2"),
        (changed_on_its_way, "which was never accepted"),
        (denied, "is expired (gave up) for its ledger and is there"),
        (executed_and_denied, "is failed for its ledger (it was refused) and was executed"),
        (expired_with_nothing_in_its_way, "and nothing kept it from arriving"),
        (stuck, "is stuck: sent after 1 attempts"),
        (misdirected, "is misdirected"),
        (sent_by_nobody, "was sent by nobody"),
        (arrived_unsent, "arrived in 1 rounds, and the ledgers say []"),
        (forgotten_receipt, "arrived in 1 rounds, and the ledgers say [(1, 'delivered', ''), (2"),
        (lost_at_its_sender, "is lost at its sender"),
        (deleted_and_there, "was deleted and is still there"),
        (without_a_ledger, "has no ledger"),
        (rows_of_an_older_round, "has rows of [100, 200]"),
        (overtaken, "overtook /cmbs/message/s0-0 on l2 from site 0 to 1"),
        (a_traceback, "site 1 logged 1 tracebacks"),
    ],
)
def test_what_is_not(world: World, broken: Callable[[World], None], said: str) -> None:
    """Each disagreement is found, and said in words that name it."""
    broken(world)
    assert any(said in one for one in world.found()), world.found()


def test_the_order_of_two_engines(world: World) -> None:
    """An engine that follows another may send again what it does not know to have been sent: no order is asked of that."""
    overtaken(world)
    assert Audit(world.messages, world.brokers, replaced={0}).disagreements() == []
    world.brokers[0].log = "2026 INFO engine[1] a: b\n2026 INFO engine[2] a: b\n"
    assert world.found() == []


def test_the_order_over_a_link_that_shuffles(world: World) -> None:
    """What a link puts in another order within a connection is asked of nobody; over the other links order holds."""
    overtaken(world)
    assert Audit(world.messages, world.brokers, {(0, 1)}).disagreements() == []
    assert Audit(world.messages, world.brokers, {(1, 0)}).disagreements() != []


def test_what_nobody_knows(world: World) -> None:
    """A row that is ``unknown`` is no disagreement, whether the message arrived or not; nor is a sending without an answer."""
    world.messages[0].short = True
    for site in (1, 2):
        world.row(0, site).update(state="unknown", reason="no answer")
    world.lose(0, 1)
    order = len(world.messages)
    world.messages[1].sendings.append(Sending("maybe", frozenset({1, 2}), order, certain=False))
    world.messages[4].sendings.append(Sending("maybe", frozenset({1, 2}), order, certain=False))
    assert world.found() == []


def test_the_order_of_arrival_is_no_clock_s(couchdb_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On CouchDB a number is the clock of whoever wrote the document: a receiver whose clock was set back between two lives is
    not taken for one to which messages came in another order."""
    real = time.time_ns
    for number, ahead in enumerate((3600, 0, 0)):
        monkeypatch.setattr(time, "time_ns", lambda ahead=ahead: real() + ahead * 10**9)
        store = open_store(couchdb_url, home=tmp_path, runtime=ThreadRuntime(), create=True)
        store.write(
            [Write(f"receipt:m-0:s0-{number}:1", "receipt", {"execution": {"state": "done"}} if number == 2 else {})]
        )
        found, by_number = arrivals(store), [one.id for one in store.find(Query("receipt"))]
        store.close()
    places = {id: place and place[0] for id, place in found.items()}
    assert places == {"receipt:m-0:s0-0:1": 1, "receipt:m-0:s0-1:1": 2, "receipt:m-0:s0-2:1": None}
    assert by_number[-1] == "receipt:m-0:s0-0:1"


def test_of_one_commit_the_feed_knows_no_order(world: World) -> None:
    """Apache CouchDB tells of documents that were written together by their ids: what the numbers say is in order, is."""
    receipts = world.brokers[1].receipts
    early, late = (MEMBERS[0], "s0-0", ROUNDS[0]), (MEMBERS[0], "s0-1", ROUNDS[1])
    for key in list(receipts):
        receipts[key] = None
    receipts[early], receipts[late] = (8, 1), (7, 2)
    assert world.found() == []
    receipts[late] = (7, 0)
    assert any("overtook" in one for one in world.found())
