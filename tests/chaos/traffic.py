"""What clients do in a round, and what they were promised: messages of every layer, sent, changed, sent again, deleted."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.federation import MACHINES, TOPICS, Site
from tests.harness import LAYERS, Background
from tests.system.test_oracle import takes_in

PACE = 0.03
"""Seconds between two things that a client does."""
SHORT = 3
"""Seconds that a message with a deadline of its own has."""
_LARGE = 60_000
"""Bytes in a large message: more than a second at 50 kB/s."""
_PUBLISHED = ("a.b", "c.d.e", "z.b", "nobody.cares")


@dataclass
class Sending:
    """A round of a message that was accepted, or may have been: ``certain``."""

    content: Any
    recipients: frozenset[int]
    order: int
    """Among all that its broker accepted."""
    certain: bool = True
    ledger: list[dict[str, Any]] = field(default_factory=list)
    """As a client read it before the next round replaced it, or the message was deleted."""


@dataclass
class Message:
    """A message of one broker, and what its clients know of it."""

    site: int
    id: str
    layer: str
    kind: str
    """``plain``, or what executing it does: ``effect`` or ``create``."""
    recipients: frozenset[int]
    short: bool
    """Whether its deadline may pass within the round."""
    attributes: dict[str, Any]
    sendings: list[Sending] = field(default_factory=list)
    fixed: bool = True
    """Whether it is known what the sender's own entity holds."""
    deleted: bool | None = False
    """None: maybe."""

    @property
    def path(self) -> str:
        """Where it is, at every broker."""
        return f"/cmbs/message/{self.id}"

    @property
    def certain(self) -> bool:
        """Whether everything that was done to it was answered."""
        return self.deleted is False and self.fixed and all(one.certain for one in self.sendings)

    def effect(self, round_: int) -> str:
        """What executing this round leaves."""
        return f"{self.id}.{round_}"

    def content(self, round_: int, pad: int = 0) -> Any:
        """What it says in this round."""
        if self.kind == "effect":
            return {"operation": "effect", "target": self.effect(round_)}
        if self.kind == "create":
            attributes = {"machine.of": self.effect(round_)}
            return {"operation": "create", "target": MACHINES, "id": self.effect(round_), "attributes": attributes}
        return {"of": self.effect(round_), "pad": "x" * pad}


class Client(Background):
    """One that uses one broker, whatever happens to that."""

    def __init__(self, site: Site, sites: list[Site], seed: int) -> None:
        super().__init__()
        self.messages: list[Message] = []
        self._site = site
        self._sites = sites
        self._chance = random.Random(seed * 100 + site.index)
        self._order = 0

    def last(self) -> str:
        """Once nothing fails any more: what a message to everybody is after at most half a minute."""
        others = frozenset(one.index for one in self._sites if one is not self._site)
        message = Message(
            self._site.index, f"s{self._site.index}-last", "l2", "plain", others, short=False, attributes={}
        )
        self._put(message, message.content(1))
        answer = self._site.ask("POST", f"{message.path}?action=send_l2", {"attributes": {"wait": 30}}, seconds=40)
        self._order += 1
        message.sendings.append(Sending(message.content(1), others, self._order))
        return str(answer.json().get("state")) if answer is not None else "not answered"

    def _run(self) -> None:
        while not self._over.wait(PACE):
            (what,) = self._chance.choices([self._new, self._again, self._meddle, self._delete], [10, 3, 1, 1])
            what()

    def _new(self) -> None:
        message = self._made()
        content = message.content(1, self._pad())
        if self._put(message, content):
            self._send(message, content)

    def _put(self, message: Message, content: Any) -> bool:
        """Whether it was made."""
        mixin = f"http://houssem.org/cmbs#{message.layer}"
        attributes = {**message.attributes, "cmbs.message.message_content": content}
        body = {"kind": "http://houssem.org/cmbs#message", "mixins": [mixin], "attributes": attributes}
        self.messages.append(message)
        answer = self._site.ask("PUT", message.path, body)
        if answer is not None and answer.status_code == 201:
            return True
        message.deleted = None
        return False

    def _made(self) -> Message:
        chance = self._chance
        layer = chance.choice(LAYERS)
        others = [one.index for one in self._sites if one is not self._site]
        named = chance.sample(others, chance.randint(1, len(others)))
        topic = chance.choice(_PUBLISHED)
        attributes: dict[str, Any] = {}
        recipients = set(others)
        if layer == "l1":
            recipients = {named[0]}
            attributes["cmbs.message.l1_socket_receiver_member"] = self._sites[named[0]].proxies["l1"].url
        if layer in ("l31", "l4"):
            recipients &= set(named)
            attributes["cmbs.message.providers"] = [self._sites[one].broker.member for one in named]
        if layer in ("l32", "l4"):
            recipients &= {one for one in others if _interested(one, topic)}
            attributes["cmbs.message.topics"] = [topic]
        short = chance.random() < 0.1
        if short:
            attributes["cmbs.message.deadline"] = SHORT
        kind = chance.choices(["plain", "effect", "create"], [4, 1, 1])[0]
        id = f"s{self._site.index}-{len(self.messages)}"
        return Message(self._site.index, id, layer, kind, frozenset(recipients), short, attributes)

    def _pad(self) -> int:
        return self._chance.choices([0, 100, _LARGE], [6, 6, 1])[0]

    def _send(self, message: Message, content: Any) -> None:
        self._order += 1
        answer = self._site.ask("POST", f"{message.path}?action=send_{message.layer}", {})
        certain = answer is not None and answer.status_code == 200
        message.sendings.append(Sending(content, message.recipients, self._order, certain))

    def _again(self) -> None:
        """Change a message that is settled, and send it again."""
        message = self._settled()
        if message is None:
            return
        content = message.content(len(message.sendings) + 1, self._pad())
        if self._changed(message, content):
            self._send(message, content)

    def _meddle(self) -> None:
        """Change a message that may be on its way: what was accepted must arrive all the same."""
        known = [one for one in self.messages[-20:] if one.certain and one.sendings]
        if known:
            message = self._chance.choice(known)
            self._changed(message, {"of": "nobody"})
            message.fixed = False  # it may have been refused, and is not sent again in any case

    def _changed(self, message: Message, content: Any) -> bool:
        """Whether a change was made; ``fixed`` is false when that is not known."""
        answer = self._site.ask("POST", message.path, {"attributes": {"cmbs.message.message_content": content}})
        message.fixed = answer is not None and answer.status_code in (200, 409)
        return answer is not None and answer.status_code == 200

    def _delete(self) -> None:
        message = self._settled()
        if message is not None:
            answer = self._site.ask("DELETE", message.path)
            message.deleted = True if answer is not None and answer.status_code == 200 else None

    def _settled(self) -> Message | None:
        """A message that is sent, with its ledger read; None when the one that was looked at is not."""
        known = [one for one in self.messages if one.certain and one.sendings]
        if not known:
            return None
        message = self._chance.choice(known)
        answer = self._site.ask("GET", message.path)
        if answer is None or answer.status_code != 200:
            return None
        shown = answer.json()["attributes"]["cmbs"]["message"]
        if shown["state"] == "sending":
            return None
        message.sendings[-1].ledger = shown["deliveries"]
        return message


def _interested(index: int, topic: str) -> bool:
    return any(takes_in(one.split("."), topic.split(".")) for one in TOPICS[index])
