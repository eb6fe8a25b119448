"""The ledger against a model of it: whatever the order of sends, changes, losses, late answers, kills and clocks, rows only
rise, what was accepted is what arrives, and nothing is denied that is there."""

from __future__ import annotations

import time
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from pycmbs import clock
from pycmbs.engine import lapsed, outbound, rows, traffic, waiters
from pycmbs.engine.outbound import Outbound
from pycmbs.errors import BeingSent, StoreUnavailable
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Draft, Invocation
from pycmbs.services.delivery.inbox import Incoming
from pycmbs.services.records.deliveries import DELIVERY, EXPIRED, SENT, Delivery, delivery_from
from pycmbs.services.records.receipts import receipt_id
from pycmbs.store.base import Query
from pycmbs.transport.base import Arrival
from pycmbs.transport.envelope import ACK, INQUIRY, MESSAGE, OUTCOME, REFUSAL, Envelope, decode, encode
from tests.services.world import OWN, add_member, add_message, add_own, make_broker
from tests.store.faulty import Fault, FaultyStore

PATH = cmbs.MESSAGE_LOCATION + "m1"
URL = "memory:l2-1"
_OUTCOME = {"outcome": {"result": 1}}


class Machine(RuleBasedStateMachine):
    """A sender and a receiver on stores of their own; the network is in the hands of the rules."""

    atomic = True

    @initialize()
    def begin(self) -> None:
        """Both know each other, and there is a message."""
        self.patch = pytest.MonkeyPatch()
        self.wall, self.ticks = 1e9, 1000.0
        self.patch.setattr(clock, "now", lambda: self.wall)
        fake = SimpleNamespace(monotonic=lambda: self.ticks, sleep=time.sleep)
        for module in (outbound, rows, traffic, lapsed, waiters):
            self.patch.setattr(module, "time", fake)
        self.wire: list[bytes] = []
        self.answers: list[bytes] = []
        self.accepted: dict[int, Any] = {}
        self.seen: dict[str, Delivery] = {}
        self.newest = 0
        self.contents = 0
        self.here, self.there = FaultyStore(atomic=self.atomic), FaultyStore(atomic=self.atomic)
        self.sender, self.receiver = make_broker(self.here), make_broker(self.there)
        add_own(self.sender)
        add_member(self.sender, "b", 1)
        add_member(self.receiver, "b", 1, local="true")
        add_message(self.sender, "l2", message_content=0)
        self.engine = self.made_engine()

    def made_engine(self) -> Outbound:
        """Another life of the sender's engine."""
        self.tried: Counter[int] = Counter()
        transports = SimpleNamespace(send=self.put_on_the_wire, forget=lambda _url, **_: None)
        probes = SimpleNamespace(
            way=lambda *_: None,
            look=lambda _: None,
            heard=lambda _: None,
            answering=lambda _: (False, ""),
            round_trip=lambda _: 0.0,
        )
        bounds = {"window": 2, "retry_first": 1.0, "retry_most": 2.0, "poll": 1.0, "most": 1_000_000}
        return Outbound(self.sender.outbox, transports, [], lambda *_: False, probes, **bounds)  # type: ignore[arg-type]

    def put_on_the_wire(self, _url: str, data: bytes, **_: str) -> None:
        """What this life of the engine sends."""
        self.wire.append(data)
        envelope = decode(data)
        if envelope.type == MESSAGE:
            self.tried[envelope.body["round"]] += 1

    def message(self) -> Any:
        """As it is stored at the sender."""
        return self.sender.entities.stored(PATH)

    @rule()
    def change(self) -> None:
        """Someone changes the content, if that may be."""
        content = self.contents + 1
        try:
            self.sender.entities.update(PATH, Draft(attributes={cmbs.CONTENT: content}))
        except BeingSent:
            return
        self.contents = content

    @rule(deadline=st.sampled_from([0.5, 5, 60]), half=st.booleans())
    def send(self, deadline: float, half: bool) -> None:
        """Someone sends it; where batches may be written in part, that may fail half-way."""
        self.sender.entities.update(PATH, Draft(attributes={cmbs.DEADLINE: deadline}))
        if half and not self.atomic:
            self.here.arm(Fault.PARTIAL, "write", times=1)
        try:
            self.sender.entities.act(PATH, Invocation("send_l2"))
        except StoreUnavailable:
            return
        finally:
            self.here.disarm()
        accepted = self.accepted.setdefault(self.message().private["round"], self.contents)
        assert accepted == self.contents, "it was changed, and what is being sent is what was sent before"

    @rule()
    def send_again(self) -> None:
        """Its deadline passes, and it is sent again with other content, while what was sent before may be under way."""
        self.go_on(100.0)
        self.change()
        self.send(60, half=False)
        self.turn_with()

    @precondition(lambda self: self.seen)
    @rule()
    def write_what_is_past(self) -> None:
        """Someone writes a row as it was when it was sent."""
        row = replace(
            next(reversed(self.seen.values())),
            state=SENT,
            attempts=1,
            revision="",
            outcome=None,
            awaiting_outcome=False,
        )
        self.sender.outbox.settle([row])

    @rule()
    def turn(self) -> None:
        """The sender's engine has a turn."""
        self.turn_with()

    def turn_with(self, *answers: bytes) -> None:
        self.engine.wake()
        self.engine._turn([Arrival(URL, data, None, answer=True) for data in answers])

    @rule(seconds=st.sampled_from([0.3, 3.0, 20.0, 100.0]))
    def go_on(self, seconds: float) -> None:
        """Time passes."""
        self.wall, self.ticks = self.wall + seconds, self.ticks + seconds
        self.turn_with()

    @precondition(lambda self: self.wire)
    @rule(which=st.integers(0, 20), waited=st.sampled_from([0.0, 0.0, 1.0, 100.0]), executing=st.booleans())
    def arrive(self, which: int, waited: float, executing: bool) -> None:
        """One of the datagrams under way arrives, in any order, and waits for some time at the receiver, which may execute it:
        then there is a second answer."""
        envelope = decode(self.wire.pop(which % len(self.wire)))
        if envelope.type == INQUIRY:
            self.answers.append(encode(Envelope(OUTCOME, envelope.id, "b", _OUTCOME)))
            return
        (answer,) = self.receiver.inbox.receive([Incoming(envelope.sender, envelope.body, ("l2",), waited=waited)])
        body = answer.body if answer.error is None else {"error": answer.error.to_dict(), "final": answer.final}
        type_ = ACK if answer.error is None else REFUSAL
        if executing and type_ == ACK and "superseded" not in body:
            body |= {"executing": True}
            self.answers.append(encode(Envelope(OUTCOME, envelope.id, "b", _OUTCOME)))
        self.answers.append(encode(Envelope(type_, envelope.id, "b", body)))

    @precondition(lambda self: self.answers)
    @rule(which=st.integers(0, 20), keep=st.booleans())
    def answer(self, which: int, keep: bool) -> None:
        """One of the answers arrives, however late, once or more than once."""
        index = which % len(self.answers)
        self.turn_with(self.answers[index] if keep else self.answers.pop(index))

    @rule()
    def lose(self) -> None:
        """A connection breaks."""
        self.wire.clear()
        self.answers.clear()

    @rule(step=st.sampled_from([0.0, 0.0, -3600.0, 3600.0]))
    def kill_the_sender(self, step: float) -> None:
        """All of its processes, perhaps with its machine, whose clock is another then. What it sent is still under way."""
        self.wall += step
        self.sender = make_broker(self.here, shipped=False)
        self.engine = self.made_engine()

    @rule(step=st.sampled_from([0.0, -3600.0, 3600.0]))
    def kill_the_receiver(self, step: float) -> None:
        """The same at the other end."""
        del step
        self.receiver = make_broker(self.there, shipped=False)

    def rows(self) -> list[Delivery]:
        """All of the sender's store."""
        return [delivery_from(one) for one in self.here.find(Query(DELIVERY))]

    def is_there(self, row: Delivery) -> bool:
        """Whether the receiver took in this round."""
        return self.there.get(receipt_id(OWN, "m1", row.round)) is not None

    @invariant()
    def rows_only_rise(self) -> None:
        """What is known of a delivery grows, and is true."""
        for row in self.rows():
            before = self.seen.get(row.id)
            if before is not None:
                assert row.rank >= before.rank, (before, row)
                assert row.attempts >= before.attempts, (before, row)
                assert before.unsettled or not row.unsettled, (before, row)
            assert row.open or row.attempts >= self.tried[row.round], row
            self.seen[row.id] = row
            if row.arrived:
                assert self.is_there(row), row
            if row.state == EXPIRED and row.round in self.accepted:
                assert not self.is_there(row), row

    @invariant()
    def what_was_accepted_is_what_arrives(self) -> None:
        """And what arrived later stays."""
        found = self.there.get(f"entity:{PATH}")
        if found is None:
            return
        round_ = found.body["private"]["taken"]
        assert found.body["attributes"][cmbs.CONTENT] == self.accepted[round_]
        assert round_ >= self.newest
        self.newest = round_

    def teardown(self) -> None:
        """Once nothing is lost any more, everything comes to an end."""
        try:
            for _ in range(12):
                self.go_on(20.0)
                while self.wire:
                    self.arrive(0, 0.0, executing=False)
                while self.answers:
                    self.answer(0, keep=False)
            self.go_on(1.0)
            self.rows_only_rise()
            self.sender.outbox.reconcile()
            open_rows = [row for row in self.rows() if row.unsettled]
            assert open_rows == []
            assert self.message().attributes.get(cmbs.STATE) != "sending"
        finally:
            self.patch.undo()


class MachineApart(Machine):
    """The same on stores that write batches in part."""

    atomic = False


_QUICK = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestLedger = Machine.TestCase
TestLedger.settings = _QUICK
TestLedgerApart = MachineApart.TestCase
TestLedgerApart.settings = _QUICK
