"""Which operations of other members are executed here: pure rules, no I/O (DESIGN "Execution"). Nothing is, unless allowed."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from pycmbs.errors import ConfigurationError, InvalidRequest
from pycmbs.occi import naming
from pycmbs.occi.category import Action, Kind
from pycmbs.occi.registry import Registry

ANY = "*"
OPERATIONS = ("create", "list", "read", "replace", "update", "delete", "act")
"""What content can ask for besides handlers."""
_ACTION = "act:"


@dataclass(frozen=True, slots=True)
class Rule:
    """Allows a sender (a member's id) an operation on a kind (identifier or term); ``*`` stands for any. A rule without a kind
    is about handlers, which have none."""

    sender: str
    operation: str
    kind: str

    def permits(self, sender: str, operation: str, kinds: Collection[str]) -> bool:
        """Whether it allows this. ``kinds``: all names of the target's kind; none for a handler, which has no kind."""
        return (
            self.sender in (ANY, sender)
            and self.operation in (ANY, operation)
            and (self.kind == ANY or (self.kind in kinds if kinds else not self.kind))
        )


def parse(text: str) -> tuple[Rule, ...]:
    """The rules of the setting ``allow``: ``SENDER OPERATION KIND``, with newlines or ``;`` between them; KIND is missing for a
    handler. Raises ConfigurationError that shows the one that is wrong."""
    return tuple(_rule(line) for line in filter(None, (part.strip() for part in re.split(r"[;\n]", text))))


def _rule(line: str) -> Rule:
    words = line.split()
    if not 2 <= len(words) <= 3:
        raise ConfigurationError(
            f"the setting allow has {line!r}, which is no rule",
            hint="A rule is SENDER OPERATION KIND, such as: * read member; 996ad860-2a9a-504f-8861-aeafd0b2ae29 reboot",
        )
    sender, operation, kind = (*words, "")[:3]
    if sender != ANY:
        try:
            sender = naming.bare_id(sender)
        except InvalidRequest as exc:
            raise ConfigurationError(
                f"the setting allow has {line!r}, which nothing matches: {sender!r} is no member's id",
                hint=f"{exc.hint} {ANY} stands for every member.",
            ) from exc
    if not kind and _is_operation(operation):
        raise ConfigurationError(
            f"the setting allow has {line!r}, which is no rule: it does not say the kind",
            hint=f"{line} * allows it on every kind.",
        )
    if operation == "act":
        raise ConfigurationError(
            f"the setting allow has {line!r}, which is no rule: it does not say the action",
            hint=f"An action is act: and its term, such as: {sender} act:start_l1 {kind}",
        )
    return Rule(sender, operation, kind)


def check(rules: Collection[Rule], handlers: Collection[str]) -> None:
    """Raises ConfigurationError for a rule about something that nobody can do here: mostly it is misspelled."""
    for rule in rules:
        if rule.kind and not _is_operation(rule.operation) and rule.operation in handlers:
            raise ConfigurationError(
                f"the setting allow has {f'{rule.sender} {rule.operation} {rule.kind}'!r}, which nothing matches: "
                f"{rule.operation!r} is a handler, and those have no kind",
                hint=f"{rule.sender} {rule.operation} allows it.",
            )
        if rule.operation != ANY and not _is_operation(rule.operation) and rule.operation not in handlers:
            raise ConfigurationError(
                f"the setting allow has {f'{rule.sender} {rule.operation} {rule.kind}'.strip()!r}, "
                f"but {rule.operation!r} is neither an operation nor a handler that is loaded",
                hint=f"There is {', '.join((*OPERATIONS[:-1], _ACTION + 'TERM', *sorted(handlers)))}.",
            )


def dormant(rules: Collection[Rule], registry: Registry) -> list[str]:
    """What to say of rules that match nothing while no such kind or action is registered, which clients may change."""
    kinds = {word for one in registry if isinstance(one, Kind) for word in (one.identifier, one.term)}
    actions = {one.term for one in registry if isinstance(one, Action)}
    found = []
    for rule in rules:
        term = rule.operation.removeprefix(_ACTION) if rule.operation.startswith(_ACTION) else ""
        missing = [f"no kind {rule.kind!r}"] if rule.kind not in ("", ANY) and rule.kind not in kinds else []
        missing += [f"no action {term!r}"] if term and term not in actions else []
        if missing:
            text = f"{rule.sender} {rule.operation} {rule.kind}"
            found.append(f"the setting allow has {text!r}, but {' and '.join(missing)} is registered yet")
    return found


def _is_operation(name: str) -> bool:
    return name in OPERATIONS or name.startswith(_ACTION)


def permits(rules: Collection[Rule], sender: str, operation: str, kinds: Collection[str]) -> bool:
    """Whether one of the rules allows it."""
    return any(rule.permits(sender, operation, kinds) for rule in rules)
