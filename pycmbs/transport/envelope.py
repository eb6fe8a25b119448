"""Format of a datagram (version 1): pure encoding and decoding.

One UTF-8 JSON object with its keys in this order::

    {"cmbs":1,"type":"message","id":"…","from":"…","body":{…}}

``cmbs`` is the version, ``id`` ties an answer to what it answers, ``from`` is the id of the member that speaks. Two keys may
follow ``from``: ``to``, the id of the member that is meant, and ``path``, the ids of the members that passed the datagram on
(absent while none did). A member that is not the recipient passes it on, if it can. Unknown keys are ignored, so that a
later minor change needs no new version; unknown types pass here and are refused by their handler.

===========  ================  ==========================================================================================
type         in answer to      body
===========  ================  ==========================================================================================
hello                          ``description``: the sender's member entity, or null when it has none; ``version`` and
                               ``instance`` of that; ``life``: of its process, drawn at each start; ``sockets_l1``: list
                               of URLs of the members that it knows; ``known``: their ids, with the versions it has;
                               ``left``: those that left, likewise; ``left_instances``: which instances these were
welcome      hello             the same of the answering member; ``members``: of those that the other lacks or has in an
                               older version, ``description``, ``version`` and ``instance``
probe                          ``life``: of the asking process
alive        probe             ``life``: of the answering process; ``version`` of the answering member; ``knows``: the
                               version it has of the asking one; ``digest``: of the members it knows
leave                          ``version``, ``instance``: of the member that speaks, which is no more
message                        ``layer``: ``l1``, ``l2``, ``l31``, ``l32`` or ``l4``; ``round``: attempt, from 1;
                               ``message``: the message entity; ``description``, ``version``, ``instance``: of the sender;
                               ``deadline``: seconds that are left for the delivery (a duration: clocks differ);
                               ``request_id``, ``traceparent``, ``tracestate``: what the client called its request, if it did
ack          message, leave    ``status``: ``delivered`` or ``duplicate``, said after the receiver's durable write;
                               ``reply``: object, what the layer returns to the sender; ``executing``: true when an
                               ``outcome`` will follow, or ``outcome`` if there is one already; ``superseded``: the
                               newer round of a duplicate that was sent before what is there
inquiry                        ``message``: the id of one that is executed; ``round``
outcome      message, inquiry  ``outcome``: ``result`` or ``error``; the second answer to a message, or the answer to an
                               inquiry; without it, the answer to one says that it is still executed
refusal      any of these      ``error``: ``code``, ``message`` and more, as of ``CmbsError.to_dict``;
                               ``final``: true when trying again cannot help
===========  ================  ==========================================================================================

Where members have keys, what goes through others has its body sealed: see :mod:`pycmbs.services.federation.seals`.
Where members have keys, descriptions and departures are signed: see :mod:`pycmbs.services.federation.statements`.
"""

from __future__ import annotations

import re
from typing import Any, Final

from msgspec import Struct

from pycmbs import codec
from pycmbs.depth import deeper
from pycmbs.errors import BadEnvelope
from pycmbs.ids import canonical_id

VERSION: Final = 1
"""The version written here."""

VERSIONS: Final = (1,)
"""The versions understood here."""

HELLO: Final = "hello"
WELCOME: Final = "welcome"
PROBE: Final = "probe"
ALIVE: Final = "alive"
LEAVE: Final = "leave"
MESSAGE: Final = "message"
INQUIRY: Final = "inquiry"
OUTCOME: Final = "outcome"
ACK: Final = "ack"
REFUSAL: Final = "refusal"

MAX_ID: Final = 200
"""Longest ``id``, ``from`` and ``to``, in characters: that of an entity's id."""

MAX_PATH: Final = 64
"""Most members that ``path`` may name."""

_LEAST_CONTENT = 512 * 1024
_ENVELOPE = 64 * 1024


def most_datagram(max_content: int) -> int:
    """Largest datagram of a broker whose messages have contents of at most ``max_content`` bytes, in bytes: twice that, and no
    less than 1 MiB, since greetings are as long as the federation is large; and 64 KiB for what is around it."""
    return 2 * max(max_content, _LEAST_CONTENT) + _ENVELOPE


_TYPE = re.compile(r"[a-z][a-z0-9_-]{0,31}")


MAX_DEPTH: Final = 200
"""Deepest nesting of a datagram."""


class Envelope(Struct, frozen=True):
    """One datagram's content. ``sender`` is the wire's ``from``. ``body`` belongs to the envelope: don't change it."""

    type: str
    id: str
    sender: str
    body: dict[str, Any]
    version: int = VERSION
    to: str = ""
    path: tuple[str, ...] = ()
    sealed_as: str = ""
    """The id that it had in its seal, of one that was sealed and is opened; its answer is sealed, too. Not on the wire."""


def encode(envelope: Envelope) -> bytes:
    """The bytes for the wire. Raises :class:`TypeError` when the body holds what JSON cannot say (our own fault)."""
    document: dict[str, Any] = {
        "cmbs": envelope.version,
        "type": envelope.type,
        "id": envelope.id,
        "from": envelope.sender,
    }
    if envelope.to:
        document["to"] = envelope.to
    if envelope.path:
        document["path"] = envelope.path
    document["body"] = envelope.body
    return codec.dumps(document)


def decode(data: bytes) -> Envelope:
    """What the bytes say.

    Raises :class:`~pycmbs.errors.BadEnvelope`; its ``data["reason"]`` is ``json``, ``object``, ``version`` (then
    ``data["versions"]`` lists those understood here), or the key that is wrong: ``type``, ``id``, ``from``, ``to``, ``path``,
    ``body``.
    """
    try:
        document = codec.received(data)
    except codec.DecodeError as error:
        raise BadEnvelope(f"the datagram is not JSON: {error}", reason="json") from None
    if deeper(document, MAX_DEPTH, data):
        raise BadEnvelope(f"the datagram nests deeper than {MAX_DEPTH} levels", reason="depth")
    if not isinstance(document, dict):
        raise BadEnvelope("the datagram is JSON, but not an object", reason="object")
    # First, since a later version may change the rules of everything else.
    version = _version(document)
    get = document.get
    kind, id_, sender, body = get("type"), get("id"), get("from"), get("body")
    if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        raise _wrong("type", "a lower-case word of at most 32 letters, digits, - and _")
    if not isinstance(id_, str) or not 0 < len(id_) <= MAX_ID or not id_.isprintable():
        raise _wrong("id", f"1 to {MAX_ID} printable characters")
    if not isinstance(sender, str) or len(sender) > MAX_ID:
        raise _wrong("from", f"a string of at most {MAX_ID} characters")
    if not isinstance(body, dict):
        raise _wrong("body", "an object")
    to, path = get("to", ""), get("path", [])
    if not isinstance(to, str) or len(to) > MAX_ID:
        raise _wrong("to", f"a string of at most {MAX_ID} characters")
    if not isinstance(path, list) or len(path) > MAX_PATH or not all(isinstance(one, str) for one in path):
        raise _wrong("path", f"a list of at most {MAX_PATH} strings")
    return Envelope(kind, id_, canonical_id(sender), body, version, canonical_id(to), tuple(map(canonical_id, path)))


def reply_to(envelope: Envelope, type: str, sender: str, body: dict[str, Any]) -> Envelope:
    """An answer to ``envelope``: it carries the same id, which is how the other side knows what is answered."""
    return Envelope(type, envelope.id, sender, body)


def _version(document: dict[str, Any]) -> int:
    version = document.get("cmbs")
    if type(version) is not int or version < 1:  # True is an int to isinstance
        raise BadEnvelope('the datagram has no version: "cmbs" must be a number from 1', reason="version",
                          versions=list(VERSIONS))  # fmt: skip
    if version not in VERSIONS:
        spoken = ", ".join(map(str, VERSIONS))
        raise BadEnvelope(f"the datagram is of version {version}; spoken here: {spoken}", reason="version",
                          versions=list(VERSIONS))  # fmt: skip
    return version


def _wrong(key: str, rule: str) -> BadEnvelope:
    return BadEnvelope(f'"{key}" of an envelope must be {rule}', reason=key)
