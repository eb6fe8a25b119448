"""Which operations of other members are executed here: pure rules, no I/O (DESIGN "Execution"). Nothing is, unless allowed."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from pycmbs.errors import ConfigurationError

ANY = "*"


@dataclass(frozen=True, slots=True)
class Rule:
    """Allows a sender (a member's id) an operation on a kind (identifier or term); ``*`` stands for any."""

    sender: str
    operation: str
    kind: str

    def permits(self, sender: str, operation: str, kinds: Collection[str]) -> bool:
        """Whether it allows this. ``kinds``: all names of the target's kind; none for a handler, which has no kind."""
        return (
            self.sender in (ANY, sender)
            and self.operation in (ANY, operation)
            and (not kinds or self.kind == ANY or self.kind in kinds)
        )


def parse(text: str) -> tuple[Rule, ...]:
    """The rules of the setting ``allow``: ``SENDER OPERATION KIND``, with newlines or ``;`` between them; KIND may be missing
    for a handler. Raises ConfigurationError that shows the one that is wrong."""
    rules = []
    for line in filter(None, (part.strip() for part in re.split(r"[;\n]", text))):
        words = line.split()
        if not 2 <= len(words) <= 3:
            raise ConfigurationError(
                f"the setting allow has {line!r}, which is no rule",
                hint="A rule is SENDER OPERATION KIND, such as: * read member; 996ad860-2a9a-504f-8861-aeafd0b2ae29 reboot",
            )
        sender, operation, kind = (*words, ANY)[:3]
        rules.append(Rule(sender.removeprefix("urn:uuid:"), operation, kind))
    return tuple(rules)


def permits(rules: Collection[Rule], sender: str, operation: str, kinds: Collection[str]) -> bool:
    """Whether one of the rules allows it."""
    return any(rule.permits(sender, operation, kinds) for rule in rules)
