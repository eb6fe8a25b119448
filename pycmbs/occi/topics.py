"""Topic syntax and matching of subscriptions: ``*`` is one word, ``>`` all the remaining words."""

from __future__ import annotations

from typing import Any

from pycmbs.errors import InvalidRequest

LONGEST = 255
"""Characters of a topic."""
ONE, REST = "*", ">"
_FOREIGN = frozenset({"#", "+"})
"""Wildcards of AMQP and MQTT: who writes one expects more of it than that word."""


def check_topic(topic: Any, attribute: str) -> None:
    """What a message is about: words of printable characters without blanks, with dots between, none of them a wildcard or with
    one inside. Raises InvalidRequest that names it."""
    if _words(topic) is None:
        raise _refusal(
            topic, attribute, "A topic is words with dots between, as in network.link; wildcards are for subscribers."
        )


def check_subscription(topic: Any, attribute: str) -> None:
    """What a member is interested in: the same, where ``*`` may stand for one whole word, and ``>``, as the last, for the rest.
    Raises InvalidRequest that names it."""
    if not is_subscription(topic):
        raise _refusal(
            topic, attribute, "It is words with dots between; * stands for one whole word, > at the end for the rest."
        )


def is_subscription(topic: Any) -> bool:
    """Whether a member can be interested in this."""
    if not isinstance(topic, str) or len(topic) > LONGEST:
        return False
    *words, last = topic.split(".")
    plain = [word for word in (*words, *([] if last == REST else [last])) if word != ONE]
    return not plain or _words(".".join(plain)) is not None


def _words(topic: Any) -> list[str] | None:
    """The words of a topic; None for an invalid one."""
    if not isinstance(topic, str) or len(topic) > LONGEST or not topic.isprintable() or " " in topic:
        return None
    words = topic.split(".")
    wrong = any(not word or word in _FOREIGN or ONE in word or REST in word for word in words)
    return None if wrong else words


def _refusal(topic: Any, attribute: str, hint: str) -> InvalidRequest:
    return InvalidRequest(f"{topic!r:.300} is not a topic", hint=hint, attribute=attribute, topic=str(topic)[:300])


def matches(subscription: str, topic: str) -> bool:
    """Whether a topic is what was subscribed to: ``*`` stands for one word, a last ``>`` for the rest, of at least one word, as
    in NATS. Words are compared character by character: no case is folded, and nothing is normalised."""
    wanted, words = subscription.split("."), topic.split(".")
    if wanted[-1] == REST:
        wanted.pop()
        if len(words) <= len(wanted):
            return False
        words = words[: len(wanted)]
    return len(wanted) == len(words) and all(
        w == word or (w == ONE and word != "") for w, word in zip(wanted, words, strict=True)
    )
