"""The vocabulary of CMBS: identifiers, attribute names and states (reference: README of pyCMBS 0.2, sections 4.1 to 4.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pycmbs.errors import InvalidRequest
from pycmbs.occi import layers, naming
from pycmbs.occi.attribute import AttributeDefinition

SCHEME = "http://houssem.org/cmbs#"
MEMBER = SCHEME + "member"
MESSAGE = SCHEME + "message"
MEMBER_LOCATION = "/cmbs/member/"
MESSAGE_LOCATION = "/cmbs/message/"
MEMBER_ACTIONS = "http://houssem.org/cmbs/member/action#"

LOCAL = "cmbs.member.local"
LISTENING = "cmbs.member.listening"
MEMBER_STATE = "cmbs.member.state"
HEALTH = "cmbs.member.health"
FINGERPRINT = "cmbs.member.fingerprint"
TRUST = "cmbs.member.trust"
CURVE_SOCKETS = "cmbs.member.curve_sockets"
NEIGHBORS = "cmbs.member.neighbors_socket"
MEMBER_TOPICS = "cmbs.member.topics"

LAYER = "cmbs.message.cmbs_layer"
SENDABLE = "cmbs.message.sendable"
EXECUTABLE = "cmbs.message.executable"
STORABLE = "cmbs.message.storable"
PATH_HISTORY = "cmbs.message.path_history"
CONTENT = "cmbs.message.message_content"
RESULT = "cmbs.message.result"
RECEIVER = f"cmbs.message.{layers.RECEIVER}"
PROVIDERS = f"cmbs.message.{layers.PROVIDERS}"
TOPICS = f"cmbs.message.{layers.TOPICS}"
DEADLINE = "cmbs.message.deadline"
STATE = "cmbs.message.state"
RECEIVED = "received"
"""The state of a message of another member."""
ORIGIN = "cmbs.message.origin"
DELIVERIES = "cmbs.message.deliveries"
ACCEPTED_AT = "cmbs.message.accepted"
RECEIVED_AT = "cmbs.message.received"


def socket_attribute(layer: str) -> str:
    """The member's attribute that holds its socket of a layer."""
    return f"cmbs.member.{layer}_socket"


def mixin(layer: str) -> str:
    """The identifier of a layer's mixin."""
    return SCHEME + layer


LAYER_OF = {mixin(layer): layer for layer in layers.LAYERS}
"""The layer of a mixin, by its identifier."""


def urn(id: str) -> str:
    """A member as ``path_history`` names it."""
    return naming.uri(MEMBER_LOCATION + id, id)


def items(attributes: Mapping[str, Any], name: str) -> list[Any]:
    """What an attribute lists; nothing when it is not set. Raises InvalidRequest for another value: a definition that a client
    made may have another type than ours."""
    value = attributes.get(name)
    if value in (None, ""):
        return []
    if not isinstance(value, list):
        raise InvalidRequest(f"{name} must be an array, not {value!r:.80}", attribute=name)
    return value


def internal(name: str, type: str = "string", description: str = "") -> AttributeDefinition:
    """An attribute that only the broker writes."""
    return AttributeDefinition(name, type, mutable=False, internal=True, description=description)


def table(*definitions: AttributeDefinition) -> dict[str, AttributeDefinition]:
    """Definitions by name."""
    return {definition.name: definition for definition in definitions}


MEMBER_ATTRIBUTES = table(
    AttributeDefinition(
        LOCAL, mutable=False, pattern="true|false", default="true", has_default=True,
        description="Whether this is the broker's own member.",
    ),
    internal(LISTENING, "array", "The layers whose sockets are bound now."),
    internal(HEALTH, "object", "How another broker's member is doing, as measured by probes."),
    internal(FINGERPRINT, "string", "By what people know the identity of the member's broker, where it has one that is known."),
    internal(TRUST, "object", "By what another broker's member is trusted, where members are asked for their keys."),
)  # fmt: skip
"""What the member backend knows of, whether the kind declares it or not."""

MESSAGE_ATTRIBUTES = table(
    AttributeDefinition(
        DEADLINE, "number", description="Seconds after sending until an undelivered recipient counts as expired."
    ),
    internal(STATE, "string", "The summary of the deliveries."),
    internal(ORIGIN, "string", "The id of the member that sent it first."),
    internal(DELIVERIES, "array", "Per recipient: what became of the message."),
    internal(ACCEPTED_AT, "string", "When this broker accepted it for delivery, at its last send."),
    internal(RECEIVED_AT, "string", "When this broker received it from another member."),
)
"""What the message backend knows of, whether the kind declares it or not."""

MOST_WAIT = 60.0
"""Seconds that a send waits at most."""
SEND_OPTIONS = table(
    AttributeDefinition(
        "wait", "number", default=0, has_default=True, minimum=0, maximum=MOST_WAIT,
        description="Seconds to wait until all recipients are settled.",
    ),
    AttributeDefinition(
        "dry_run", "boolean", default=False, has_default=True,
        description="Say who would get it and why, and send nothing.",
    ),
)  # fmt: skip
"""What the actions ``send_*`` take, whether their definitions declare it or not."""
