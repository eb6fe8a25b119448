"""The layers: what each is called, whom a message on it goes to, and what its acknowledgement carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer."""

    name: str
    """As it is spelled inside."""
    spelling: str
    """As it is spelled since 2012, if that is another way."""
    needs: tuple[str, ...]
    """What a message must say of whom it is for, by the last part of the attribute's name; the recipients are chosen by that
    (:data:`pycmbs.services.delivery.recipients.CHOICES`)."""
    nobody: str
    """Why there may be no recipient."""
    introduces: bool = False
    """Whether members introduce themselves on it, and an acknowledgement says who the recipient is and whom it knows."""


RECEIVER, PROVIDERS, TOPICS = "l1_socket_receiver_member", "providers", "topics"

TABLE: Mapping[str, Layer] = {
    one.name: one
    for one in (
        Layer("l1", "l1", (RECEIVER,), "it names no socket", introduces=True),
        Layer("l2", "l2", (), "no other member is known"),
        Layer("l31", "l3.1", (PROVIDERS,), "it names no member"),
        Layer("l32", "l3.2", (TOPICS,), "no other member is interested in one of its topics"),
        Layer("l4", "l4", (PROVIDERS, TOPICS), "no member that it names is interested in one of its topics"),
    )
}
"""Every layer, by its name, in their order."""
LAYERS = tuple(TABLE)
INTRODUCTORY = next(one.name for one in TABLE.values() if one.introduces)
"""The layer on which members introduce themselves."""


def layer_of(verb: str, term: str) -> str:
    """The layer of an action such as ``start_l1`` whose verb is this one; empty for any other."""
    begins, _, layer = term.partition("_")
    return layer if begins == verb and layer in TABLE else ""
