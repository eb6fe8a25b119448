"""Response objects; each one's ``document`` is the JSON it was made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

_TAG = "tag:houssem.org,2012:cmbs:"
MEMBER = "cmbs.member."
MESSAGE = "cmbs.message."
GOOD = ("delivered", "executed")
OPEN = ("pending", "sent")


def plain_id(uri: str) -> str:
    """An id as a person says it, from what OCCI 1.2 shows."""
    if uri.startswith(_TAG):
        return unquote(uri.rpartition("/")[2])
    return uri.removeprefix("urn:uuid:")


@dataclass(frozen=True, slots=True)
class Row:
    """What became of a message at one recipient. ``why`` it is one; ``reason``: why it is not delivered, yet or ever.
    ``via``: the members over which it was confirmed; empty where directly. ``history``: its states so far, each with ``at``,
    ``state`` and perhaps a ``reason``. ``result`` and ``error`` are what its execution came to."""

    member: str
    state: str
    layer: str = ""
    attempts: int = 0
    why: str = ""
    reason: str = ""
    accepted: str = ""
    updated: str = ""
    deadline: str = ""
    via: str = ""
    history: Sequence[Mapping[str, str]] = ()
    result: Any = None
    error: Mapping[str, Any] | None = None
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def settled(self) -> bool:
        """Whether nothing more is to come of it."""
        return self.state not in OPEN


def row(document: Mapping[str, Any]) -> Row:
    """A row of a ledger."""
    known = {name: document[name] for name in Row.__dataclass_fields__ if name in document and name != "document"}
    return Row(**{"member": "", "state": "", **known}, document=document)


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that was accepted, and how far it is. ``state`` sums the ledger up; ``reason``: why no one gets it;
    ``not_listening``: recipients that say they do not listen on the layer now. ``warning``: what keeps it from some, in a
    sentence."""

    id: str
    layer: str
    state: str
    ledger: Sequence[Row]
    reason: str = ""
    warning: str = ""
    not_listening: Sequence[str] = ()
    uninterested: Sequence[str] = ()
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def recipients(self) -> Sequence[Row]:
        """The rows that are about someone."""
        return [one for one in self.ledger if one.member or one.document.get("socket")]

    @property
    def settled(self) -> bool:
        """Whether nothing more is to come of it at any recipient."""
        return self.state != "sending"

    @property
    def delivered(self) -> bool:
        """Whether every recipient has it."""
        return self.state in GOOD


def sent(id: str, layer: str, report: Mapping[str, Any]) -> Sent:
    """From the report of a send."""
    said = {name: value for name, value in report.items() if name not in ("deliveries", "dry_run")}
    document = {"id": id, "layer": layer, **said, "deliveries": report.get("deliveries", [])}
    return Sent(
        id,
        layer,
        str(report.get("state", "")),
        [row(one) for one in report.get("deliveries", ())],
        str(report.get("reason", "")),
        str(report.get("warning", "")),
        report.get("not_listening", ()),
        report.get("uninterested", ()),
        document,
    )


def sent_before(message: Message) -> Sent:
    """The same, from the message as it is read."""
    document = {"id": message.id, "layer": message.layer, "state": message.state}
    document["deliveries"] = message.document.get("deliveries", [])
    return Sent(message.id, message.layer, message.state, message.ledger, document=document)


@dataclass(frozen=True, slots=True)
class Plan:
    """Who would get a message, and why; nothing was sent. ``unknown``: names that are no member's.
    ``warning``: what would keep it from some, in a sentence."""

    layer: str
    recipients: Sequence[Row]
    unknown: Sequence[str]
    warning: str = ""
    not_listening: Sequence[str] = ()
    uninterested: Sequence[str] = ()
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)


def plan(layer: str, report: Mapping[str, Any]) -> Plan:
    """From the report of a dry run."""
    return Plan(
        layer,
        [row({"state": "", **one}) for one in report.get("recipients", ())],
        report.get("unknown", ()),
        str(report.get("warning", "")),
        report.get("not_listening", ()),
        report.get("uninterested", ()),
        {"layer": layer, **report},
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a member made of a request: its ``result``, and the message that asked."""

    member: str
    result: Any
    sent: Sent


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the federation. ``own``: the broker's own, of which no health is measured. ``listening``: the URLs bound now,
    by layer, of the own one. Times are text, round trips milliseconds. ``trust``: by what it is trusted (``pinned``,
    ``vouched`` …), and ``vouched_by`` the fingerprint of who says so; empty where members are not asked for keys."""

    id: str
    own: bool
    topics: Sequence[str]
    listening: Mapping[str, Any] | Sequence[str]
    health: str = ""
    round_trip_ms: float | None = None
    via: str = ""
    reason: str = ""
    trust: str = ""
    vouched_by: str = ""
    fingerprint: str = ""
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)


def member(entity: Mapping[str, Any]) -> Member:
    """From the entity."""
    said = {name.removeprefix(MEMBER): value for name, value in entity.get("attributes", {}).items()}
    health, trust = said.get("health") or {}, said.get("trust") or {}
    id = plain_id(str(entity.get("id", "")))
    return Member(
        id,
        str(said.get("local")).lower() == "true",
        said.get("topics") or [],
        said.get("listening") or [],
        str(health.get("state", "")),
        health.get("round_trip_ms"),
        str(health.get("via", "")),
        str(health.get("reason", "")),
        str(trust.get("state", "")),
        str(trust.get("by", "")),
        str(said.get("fingerprint", "")),
        {"id": id, **said},
    )


@dataclass(frozen=True, slots=True)
class Message:
    """A message, one's own or a received one (``state`` is ``received`` then, and ``origin`` the sender)."""

    id: str
    state: str
    layer: str
    origin: str
    topics: Sequence[str]
    providers: Sequence[str]
    content: Any
    ledger: Sequence[Row]
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)


def message(entity: Mapping[str, Any]) -> Message:
    """From the entity."""
    said = {name.removeprefix(MESSAGE): value for name, value in entity.get("attributes", {}).items()}
    id = plain_id(str(entity.get("id", "")))
    heading = {name: entity[name] for name in ("title", "summary") if entity.get(name)}
    return Message(
        id,
        str(said.get("state", "")),
        str(said.get("cmbs_layer", "")),
        str(said.get("origin", "")),
        said.get("topics") or [],
        said.get("providers") or [],
        said.get("message_content"),
        [row(one) for one in said.get("deliveries") or ()],
        {"id": id, **heading, **said},
    )
