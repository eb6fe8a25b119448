"""Whether a broker's sentences are true: what clients were promised, what ledgers say, and what is at the receivers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pycmbs.occi import cmbs
from pycmbs.runtime import ThreadRuntime
from pycmbs.services.records.deliveries import delivery_of
from pycmbs.store import open_store
from pycmbs.store.base import Query, Store
from tests.chaos.federation import MACHINES, Site
from tests.chaos.traffic import Message, Sending

THERE = ("delivered", "executed")
UNKNOWN = "unknown"
_INTERRUPTED = "interrupted by a restart"
"""In the reason of what a kill kept from being executed, and may not be tried again."""


_TRACE = re.compile(r"^(?:\| )?Traceback .*?(?=^\d{4}-\d\d-|\Z)", re.MULTILINE | re.DOTALL)
_STILLBORN = re.compile(
    r"in spawn_main\n(?:(?!  File ).*\n)*  File .* in _main\n(?:(?!  File ).*\n)*EOFError: Ran out of input"
)
"""Of a process of handlers whose engine was killed while it started it: the standard library's own, before any code of ours."""
_ENGINE = re.compile(r" engine\[(\d+)\]")
_LINES = 16
"""Of a traceback that are shown."""


@dataclass
class _Told:
    """An accepted round, numbered from 1, with its ledger as HTTP shows it. ``round``: as the store calls the newest."""

    number: int
    sending: Sending
    ledger: list[dict[str, Any]]
    round: int | None = None


def _name(message: Message, told: _Told) -> str:
    return f"{message.path} round {told.number} ({message.layer}, {message.kind})"


def _interrupted(row: dict[str, Any]) -> bool:
    return row["state"] == "failed" and _INTERRUPTED in row.get("reason", "")


def _arrived(row: dict[str, Any]) -> bool:
    """Whether a row says that the message is at its recipient: also if its execution failed there."""
    return row["state"] in THERE or (row["state"] == "failed" and "error" in row)


Place = tuple[int, ...] | None


@dataclass
class Kept:
    """What is in the store of one broker once all is over. Keys of ``receipts``: origin, message, round; their values: where
    each is in the order of arrival, by every measure of that; None if it cannot be told."""

    member: str
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By path: the bodies of the entities."""
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By path: the ledger."""
    receipts: dict[tuple[str, str, int], Place] = field(default_factory=dict)
    machines: set[str] = field(default_factory=set)
    effects: Counter[str] = field(default_factory=Counter)
    log: str = ""


def kept(site: Site) -> Kept:
    """What a broker that was stopped has kept."""
    found = Kept(site.broker.member, effects=Counter(site.effects()), log=site.broker.log())
    store = open_store(site.store, home=site.broker.home, runtime=ThreadRuntime())
    try:
        for one in store.find(Query("entity", {"kind": cmbs.MESSAGE})):
            found.messages[one.body["path"]] = one.body
        for one in store.find(Query("delivery")):
            found.rows.setdefault(one.body["message"], []).append(one.body)
        for id, number in arrivals(store).items():
            origin, message, round_ = id.split(":")[1:]
            found.receipts[origin, message, int(round_)] = number
        for one in store.find(Query("entity")):
            if one.body["path"].startswith(MACHINES):
                found.machines.add(one.body["path"].removeprefix(MACHINES))
    finally:
        store.close()
    return found


def arrivals(store: Store) -> dict[str, Place]:
    """All receipts, and where each is in the order in which they were written. Where numbers are a clock's, which may have been
    set, the feed tells, too, of those that were not written again since; but of those of one commit it knows no order."""
    if store.ordered:
        return {one.id: (one.number,) for one in store.find(Query("receipt"))}
    found: dict[str, Place] = {}
    cursor = ""
    while True:
        changes, cursor = store.changes(cursor, types=("receipt",))
        if not changes:
            return found
        for one in changes:
            if one.document is not None:
                again = bool(one.document.body.get("execution"))
                found[one.id] = None if again else (len(found) + 1, one.document.number)


class Audit:
    """Compares what clients know with what the brokers kept, and says in a sentence each where they disagree."""

    def __init__(
        self,
        messages: Sequence[Message],
        brokers: Sequence[Kept],
        shuffled: Collection[tuple[int, int]] = (),
        replaced: Collection[int] = (),
    ) -> None:
        """``brokers``: in the order of their sites. ``shuffled``: the links, from a site to a site, that told messages of one
        connection in another order, as no network does and no order holds against. ``replaced``: the sites whose engine was
        killed or started anew."""
        self._messages = messages
        self._brokers = brokers
        self._shuffled = shuffled
        self._replaced = replaced
        self._site_of = {one.member: index for index, one in enumerate(brokers)}
        self.states: Counter[str] = Counter()
        """Of all rows of the ledgers."""

    def disagreements(self) -> list[str]:
        """All of them; none is what must be."""
        found = [one for message in self._messages for one in self._of_message(message)]
        return [*found, *self._strangers(), *self._order(), *self._logs()]

    def _of_message(self, message: Message) -> Iterator[str]:
        entity = self._brokers[message.site].messages.get(message.path)
        yield from self._at_the_sender(message, entity)
        told = self._told(message, entity)
        for one in told:
            yield from self._of_round(message, one)
        for index, broker in enumerate(self._brokers):
            yield from self._arrived(message, told, index, broker)

    def _told(self, message: Message, entity: dict[str, Any] | None) -> list[_Told]:
        """What the ledgers said of the rounds that were accepted, in their order: the newest's is in the store, the others
        were read by clients before they sent again."""
        told = [_Told(number, one, one.ledger) for number, one in enumerate(message.sendings, 1)]
        if entity is None or not told:
            return told
        private = entity["private"]
        rows = self._brokers[message.site].rows.get(message.path, [])
        ledger = [delivery.entry() for row in rows if (delivery := delivery_of(row)).round == private.get("round")]
        last = told[-1]
        if not last.sending.certain and (
            "round" not in private
            or (len(told) > 1 and ledger and ledger[0]["accepted"] == told[-2].ledger[0]["accepted"])
        ):
            told.pop()  # it was not
        if told:
            told[-1].ledger, told[-1].round = ledger, private.get("round")
        return told

    def _at_the_sender(self, message: Message, entity: dict[str, Any] | None) -> Iterator[str]:
        rounds = {row["round"] for row in self._brokers[message.site].rows.get(message.path, ())}
        if message.deleted is True and (entity is not None or rounds):
            yield f"{message.path} was deleted and is still there"
        elif message.deleted is False and entity is None:
            yield f"{message.path} is lost at its sender"
        elif message.deleted is not True and entity is not None:
            if rounds - {entity["private"].get("round")}:
                yield f"{message.path} of round {entity['private'].get('round')} has rows of {sorted(rounds)}"
            if entity["attributes"].get(cmbs.STATE) == "sending":
                yield f"{message.path} is sending for ever"
            content = entity["attributes"].get(cmbs.CONTENT)
            if message.certain and message.sendings and content != message.sendings[-1].content:
                yield f"{message.path} has another content at its sender than it was given: {content!s:.80}"

    def _of_round(self, message: Message, told: _Told) -> Iterator[str]:
        name = _name(message, told)
        rows = self._rows(told)
        if not told.ledger:
            yield f"{name} has no ledger"
        elif set(rows) != told.sending.recipients:
            yield f"{name} has the recipients {sorted(rows)} in its ledger, not {sorted(told.sending.recipients)}"
        for index, row in rows.items():
            self.states[row["state"]] += 1
            yield from self._of_row(message, row, f"{name} at site {index}")
            yield from self._of_execution(message, told, row, index)

    def _rows(self, told: _Told) -> dict[int, dict[str, Any]]:
        """By site; without the row that says that there is no one."""
        return {self._site_of[row["member"]]: row for row in told.ledger if row["member"]}

    def _of_row(self, message: Message, row: dict[str, Any], where: str) -> Iterator[str]:
        state, how = row["state"], f"after {row['attempts']} attempts ({row.get('reason', '')})"
        if state in ("pending", "sent"):
            yield f"{where} is stuck: {state} {how}"
        elif state not in THERE and not message.short and not _interrupted(row):
            yield f"{where} is {state} {how}, and nothing kept it from arriving"

    def _arrived(self, message: Message, told: list[_Told], index: int, broker: Kept) -> Iterator[str]:
        """Whether as many rounds arrived at a receiver as the ledgers say, and which of them it holds."""
        origin = self._brokers[message.site].member
        receipts = {round_ for sender, id, round_ in broker.receipts if (sender, id) == (origin, message.id)}
        rows = [(one, self._rows(one).get(index)) for one in told]
        there = [one for one, row in rows if row is not None and _arrived(row)]
        maybe = [one for one, row in rows if row is not None and row["state"] == UNKNOWN]
        where = f"{message.path} ({message.layer}, {message.kind}) at site {index}"
        newest, row = rows[-1] if rows else (None, None)
        if newest is not None and newest.round is not None and newest.round not in receipts and newest in there:
            yield f"{_name(message, newest)} at site {index} is {row and row['state']} for its ledger and is lost"
        elif newest is not None and newest.round in receipts and newest not in [*there, *maybe]:
            state = f"{row['state']} ({row.get('reason', '')})" if row else "of somebody else"
            yield f"{_name(message, newest)} at site {index} is {state} for its ledger and is there"
        elif not len(there) <= len(receipts) <= len(there) + len(maybe):
            said = [(one.number, row["state"], row.get("reason", "")) if row else None for one, row in rows]
            yield f"{where} arrived in {len(receipts)} rounds, and the ledgers say {said}"
        body = broker.messages.get(message.path)
        if index != message.site and body is None and there:
            yield f"{where} is {rows[-1][1] and rows[-1][1]['state']} for its ledger and is not there"
        elif index != message.site and body is not None:
            yield from self._is_the_newest(where, told, there, maybe, receipts, body["attributes"].get(cmbs.CONTENT))

    def _is_the_newest(
        self,
        where: str,
        told: list[_Told],
        there: list[_Told],
        maybe: list[_Told],
        receipts: set[int],
        content: Any,
    ) -> Iterator[str]:
        if content not in [one.sending.content for one in told]:
            yield f"{where} is {content!s:.80}, which was never accepted"
        elif there and content not in [one.sending.content for one in [there[-1], *maybe]]:
            yield f"{where} is not of round {there[-1].number}, which is the newest that arrived"

    def _of_execution(self, message: Message, told: _Told, row: dict[str, Any], index: int) -> Iterator[str]:
        where = f"{_name(message, told)} at site {index}"
        if message.kind == "plain":
            if row["state"] == "executed":
                yield f"{where} is executed, and there was nothing to execute"
            return
        effect, broker = message.effect(told.number), self._brokers[index]
        times = broker.effects[effect] if message.kind == "effect" else int(effect in broker.machines)
        if times > 1:
            yield f"{where} was executed {times} times"
        if row["state"] == "executed" and not times:
            yield f"{where} is executed for its ledger and was not"
        if row["state"] == "delivered" and not message.short:  # else the outcome may have come too late
            yield f"{where} is delivered for its ledger, and not a word of its execution"
        if row["state"] in ("expired", "failed") and times and not _interrupted(row):
            yield f"{where} is {row['state']} for its ledger ({row.get('reason')}) and was executed"

    def _strangers(self) -> Iterator[str]:
        """What is somewhere and was sent by no one, or not to there."""
        sent = {(one.site, one.path): one for one in self._messages}
        for index, broker in enumerate(self._brokers):
            arrived = {(self._site_of.get(origin), f"/cmbs/message/{id}") for origin, id, _ in broker.receipts}
            arrived |= {
                (self._site_of.get(body["attributes"].get(cmbs.ORIGIN), index), path)
                for path, body in broker.messages.items()
            }
            for origin, path in arrived:
                message = sent.get((origin, path))
                if message is None:
                    yield f"{path} at site {index} was sent by nobody"
                elif origin != index and index not in message.recipients:
                    yield f"{path} at site {index} is misdirected"
            made = broker.effects.keys() | broker.machines
            for effect in made - {one.effect(n) for one in self._messages for n in range(1, len(one.sendings) + 1)}:
                yield f"{effect} was executed at site {index}, and nobody asked for it"

    def _order(self) -> Iterator[str]:
        """What one broker accepted for one layer of another is there in this order, but for what was tried again. An engine
        does not know what the one before it tried, so brokers that had several are left out."""
        for sender in range(len(self._brokers)):
            engines = set(_ENGINE.findall(self._brokers[sender].log))
            if len(engines) > 1 or sender in self._replaced:  # one that lived for a moment has logged nothing
                continue
            rows = self._brokers[sender].rows
            messages = [one for one in self._messages if one.site == sender and one.sendings]
            messages.sort(key=lambda one: one.sendings[-1].order)
            for index, broker in enumerate(self._brokers):
                if any(sender == here or index == there for here, there in self._shuffled):  # also through a third
                    continue
                last: dict[str, tuple[tuple[int, ...], str]] = {}
                for one in messages:
                    row = next((row for row in rows.get(one.path, ()) if row["member"] == broker.member), None)
                    if row is None or row.get("attempts", 0) > 1 or not one.sendings[-1].certain:
                        continue
                    number = broker.receipts.get((self._brokers[sender].member, one.id, row["round"]))
                    if number is None:
                        continue
                    before = last.get(one.layer, ((), ""))
                    if before[0] and all(here < there for here, there in zip(number, before[0], strict=True)):
                        yield f"{one.path} overtook {before[1]} on {one.layer} from site {sender} to {index}"
                    last[one.layer] = max(before, (number, one.path))

    def _logs(self) -> Iterator[str]:
        for index, broker in enumerate(self._brokers):
            traces = [one for one in _TRACE.findall(broker.log) if not _STILLBORN.search(one)]
            if traces:
                last = "\n".join(traces[0].strip().splitlines()[-_LINES:])
                yield f"site {index} logged {len(traces)} tracebacks, of which the first ends with\n{last}"
