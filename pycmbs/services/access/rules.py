"""Rule grammar: parses and matches rules for HTTP users and for senders of messages. The decisions are access.py's.

Pure, no I/O.

A rule allows, and what no rule allows is refused::

    SUBJECT OPERATION KIND [own|received] [layer=LAYER] [topic=PATTERN] [to=MEMBER]
    SUBJECT HANDLER [target=TARGET]

SUBJECT is a member's id, ``user:NAME``, ``role:NAME``, or ``*`` for everyone authenticated. OPERATION is one of
:data:`VERBS`, ``act:TERM``, ``act:*`` for every action that does not send, or ``*``; or a handler's name, and then there is no
KIND. KIND is the identifier or the term of a kind or of one of its parents, or ``*`` for any; or one of the words of
:data:`PLACES`, which only themselves and ``* *`` mean. ``own``: what the subject made himself. ``received``: messages from
other members. The conditions of a ``send`` say on which layer, under which topics and to which members: what a message says of
these, each part of it, must be allowed. A handler may be allowed for one target, or for all that begin as one that ends in
``*``.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from pycmbs.errors import ConfigurationError, InvalidRequest
from pycmbs.occi import naming
from pycmbs.occi.category import Action, Kind
from pycmbs.occi.layers import LAYERS
from pycmbs.occi.registry import Registry
from pycmbs.occi.topics import check_subscription, matches

ANY = "*"
OPERATIONS = ("create", "list", "read", "replace", "update", "delete", "act")
"""What content can ask for besides handlers."""
SEND = "send"
LISTING = "handlers"
"""What tells of handlers: callers see those that they may call."""
VERBS = (*OPERATIONS[:-1], SEND)
"""What rules can be about besides actions and handlers."""
CATEGORIES, SHIPPED, ROOT, METRICS = "/-/", "/-/shipped", "/", "/metrics"
PLACES = (CATEGORIES, SHIPPED, ROOT, METRICS)
"""What is not a kind, and rules can be about: the categories, those of the broker's own, all entities at once, metrics."""
OWN, RECEIVED = "own", "received"
_ACTION = "act:"
_ANY_ACTION = "act:*"
_SENDS = tuple(f"send_{layer}" for layer in LAYERS)
_PERSON = re.compile(r"(user|role):[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")

ROLES = """
role:admin * *
role:operator create *; role:operator list *; role:operator read *; role:operator replace *; role:operator update *
role:operator delete *; role:operator act:* *; role:operator send *
role:operator create /-/; role:operator read /-/; role:operator replace /-/; role:operator delete /-/
role:operator read /metrics
role:publisher create message; role:publisher send message own
role:publisher list message own; role:publisher read message own
role:publisher list member; role:publisher read member; role:publisher read /-/
role:consumer list message received; role:consumer read message received; role:consumer read /-/
role:reader list *; role:reader read *; role:reader read /-/; role:reader read /metrics
"""
"""What the roles may that every broker has."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of what a message is sent for: to one member, under one topic; None for all of them."""

    layer: str
    topic: str | None = None
    to: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """Allows a subject an operation on a kind. A rule without a kind is about handlers, which have none."""

    subject: str
    operation: str
    kind: str
    whose: str = ""
    layer: str = ""
    topic: str = ""
    to: str = ""
    target: str = ""

    def aims(self, target: str) -> bool:
        """Whether it is about a handler that is called with this target."""
        if self.target.endswith(ANY):
            return target.startswith(self.target[:-1])
        return self.target in ("", target)

    def speaks(self, operation: str, kinds: Collection[str]) -> bool:
        """Whether it is about this, on whatever condition. ``kinds``: all names of the target's kind; none for a handler."""
        if not self.covers(operation):
            return False
        if not kinds:
            return self.kind in (ANY, "")
        if self.kind == ANY:
            return self.operation == ANY or not any(one in PLACES for one in kinds)
        return self.kind in kinds

    def covers(self, operation: str) -> bool:
        """Whether it is about an operation."""
        if self.operation in (ANY, operation):
            return True
        if not operation.startswith(_ACTION):
            return False
        return self.operation == (SEND if sends(operation) else _ANY_ACTION)

    def permits(self, sender: str, operation: str, kinds: Collection[str]) -> bool:
        """Whether it allows a member this, or could on a condition."""
        return self.subject in (ANY, sender) and self.speaks(operation, kinds)

    def carries(self, part: Part) -> bool:
        """Whether its conditions let a message be sent for this."""
        return (
            self.layer in ("", part.layer)
            and (not self.topic or (part.topic is not None and matches(self.topic, part.topic)))
            and self.to in ("", part.to)
        )

    def __str__(self) -> str:
        conditions = [f"{name}={text}" for name in ("layer", "topic", "to", "target") if (text := getattr(self, name))]
        return " ".join(filter(None, [self.subject, self.operation, self.kind, self.whose, *conditions]))


def sends(operation: str) -> bool:
    """Whether an operation sends messages."""
    return operation == SEND or (operation.startswith(_ACTION) and operation.removeprefix(_ACTION) in _SENDS)


def parse(text: str, where: str = "the setting allow") -> tuple[Rule, ...]:
    """The rules in a text, with newlines or ``;`` between them; ``#`` begins a comment, to the end of its line. Raises
    ConfigurationError that shows the one that is wrong, and says ``where`` it is."""
    lines = (line.partition(" #")[0] if not line.lstrip().startswith("#") else "" for line in text.splitlines())
    return tuple(parse_rule(one.strip(), where) for line in lines for one in line.split(";") if one.strip())


def parse_rule(line: str, where: str = "the setting allow") -> Rule:
    """One rule. Raises ConfigurationError."""

    def wrong(why: str, hint: str) -> ConfigurationError:
        return ConfigurationError(f"{where} has {line!r}, which {why}", hint=hint)

    words = line.split()
    if len(words) < 2:
        raise wrong(
            "is not a rule",
            "A rule is SUBJECT OPERATION KIND, such as: * read member; 996ad860-2a9a-504f-8861-aeafd0b2ae29 reboot",
        )
    subject, operation, kind, *conditions = _parts(words)
    operation = naming.canonical(operation) if operation.startswith(_ACTION) else operation
    if subject.startswith(("user:", "role:")):
        if not _PERSON.fullmatch(subject):
            raise wrong(
                f"nothing matches: {subject!r} is not a subject",
                "A subject is a member's id, user:NAME, role:NAME or *.",
            )
    elif subject != ANY:
        try:
            subject = naming.bare_id(subject)
        except InvalidRequest as exc:
            raise wrong(
                f"nothing matches: {subject!r} is not a member's id", f"{exc.hint} {ANY} stands for everybody."
            ) from exc
    if not kind and is_operation(operation):
        raise wrong("is not a rule: it lacks the kind", f"{line} * allows it on every kind.")
    if operation == "act":
        raise wrong(
            "is not a rule: it lacks the action",
            f"An action is act: and its term, such as: {subject} act:start_l1 {kind}",
        )
    try:
        return Rule(subject, operation, kind, **_conditions(operation, conditions))
    except InvalidRequest as exc:
        raise wrong(f"is not a rule: {exc.message}", exc.hint) from exc


def _parts(words: list[str]) -> list[str]:
    """Subject, operation, kind and conditions. A handler has no kind, so what follows it is a condition."""
    if len(words) == 2 or ("=" in words[2] and not is_operation(words[1])):
        return [*words[:2], "", *words[2:]]
    return words


def _conditions(operation: str, words: Collection[str]) -> dict[str, str]:
    """What stands behind the kind. Raises InvalidRequest."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = name if equals else "whose"
        if (
            name in found
            or (name == "whose" and word not in (OWN, RECEIVED))
            or (equals and (name not in ("layer", "topic", "to", "target") or not value))
        ):
            raise InvalidRequest(
                f"{word!r} is not a condition",
                hint="Known: own, received, layer=l2, topic=network.> and to=MEMBER; for a handler target=TARGET.",
            )
        if name == "target" and (is_operation(operation) or operation == ANY):
            raise InvalidRequest(f"{word!r} is a condition of a handler only")
        if equals and name != "target" and not (sends(operation) or operation == ANY):
            raise InvalidRequest(f"{word!r} is a condition of send only")
        found[name] = value if equals else word
    if (layer := found.get("layer")) is not None:
        found["layer"] = naming.canonical(layer)
        if found["layer"] not in LAYERS:
            raise InvalidRequest(f"{layer!r} is not a layer", hint=f"Known: {', '.join(LAYERS)}.")
    if "topic" in found:
        check_subscription(found["topic"], "topic")
    if "to" in found:
        found["to"] = naming.bare_id(found["to"])
    return found


def check(rules: Collection[Rule], handlers: Collection[str], where: str = "the setting allow") -> None:
    """Raises ConfigurationError for a rule about an operation or handler that does not exist: mostly it is misspelled."""
    for rule in rules:
        if rule.kind and not is_operation(rule.operation) and rule.operation in handlers:
            raise ConfigurationError(
                f"{where} has {str(rule)!r}, which nothing matches: {rule.operation!r} is a handler, and those have no kind",
                hint=f"{rule.subject} {rule.operation} allows it.",
            )
        if rule.operation != ANY and not is_operation(rule.operation) and rule.operation not in handlers:
            raise ConfigurationError(
                f"{where} has {str(rule)!r}, but {rule.operation!r} is neither an operation nor a handler that is loaded",
                hint=f"Known: {', '.join((*VERBS, _ACTION + 'TERM', *sorted(handlers)))}.",
            )


def dormant(rules: Collection[Rule], registry: Registry, where: str = "the setting allow") -> list[str]:
    """What to say of rules that match nothing while no such kind or action is registered, which clients may change."""
    kinds = {word for one in registry if isinstance(one, Kind) for word in (one.identifier, one.term)}
    actions = {one.term for one in registry if isinstance(one, Action)}
    found = []
    for rule in rules:
        term = rule.operation.removeprefix(_ACTION) if rule.operation.startswith(_ACTION) else ""
        missing = [f"no kind {rule.kind!r}"] if rule.kind not in ("", ANY, *PLACES) and rule.kind not in kinds else []
        missing += [f"no action {term!r}"] if term not in ("", ANY) and term not in actions else []
        if missing:
            found.append(f"{where} has {str(rule)!r}, but {' and '.join(missing)} is registered yet")
    return found


def is_operation(name: str) -> bool:
    """Whether this is the name of an operation, and not of a handler."""
    return name in OPERATIONS or name == SEND or name.startswith(_ACTION)


def permits(rules: Collection[Rule], sender: str, operation: str, kinds: Collection[str]) -> bool:
    """Whether one of the rules allows a member this."""
    return any(rule.permits(sender, operation, kinds) for rule in rules)
