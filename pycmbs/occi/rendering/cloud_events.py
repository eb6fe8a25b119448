"""CloudEvents 1.0 (CNCF): events come in as messages, in their JSON format or as HTTP headers, and messages are read as events.

A message's content is the whole event, so that nothing of it is lost; its topic is the event's type.
"""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from pycmbs import codec
from pycmbs.errors import MalformedBody
from pycmbs.ids import canonical_id, is_uuid
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Draft, Entity
from pycmbs.occi.rendering.json_reader import JsonReader, load

REQUIRED = ("specversion", "id", "source", "type")
_NAME = re.compile(r"[a-z0-9]{1,64}")
_EVENTS = uuid.UUID("0f0c3a86-6a55-5c0e-9d3b-0c2b3a5f7d11")
"""The name space of ids that are made of an event's source and id (RFC 9562, version 5)."""
_JSON = re.compile(r"(?:[^/]+/(?:[^;]*\+)?|)json", re.IGNORECASE)
_TEXT = re.compile(r"text/[^;]*(?:$|;(?!.*charset=)|;.*charset=\"?(?:utf-8|us-ascii)\"?)", re.IGNORECASE)


class CloudEventsReader(JsonReader):
    """A :class:`~pycmbs.occi.rendering.Reader` of events, one or a batch; what is no creation is JSON as ever."""

    def drafts(self, body: bytes, *, inline: bool = False) -> list[Draft]:
        """See :class:`~pycmbs.occi.rendering.Reader`."""
        del inline
        value = load(body)
        events = value if isinstance(value, list) else [value]
        if not events:
            raise MalformedBody("the batch has no event")
        return [_draft(one) for one in events]


def _draft(event: Any) -> Draft:
    """The message that an event becomes. Raises MalformedBody."""
    check(event)
    id = str(event["id"])
    own = canonical_id(id) if is_uuid(canonical_id(id)) else str(uuid.uuid5(_EVENTS, f"{event['source']}\n{id}"))
    attributes = {cmbs.TOPICS: [event["type"]], cmbs.CONTENT: event}
    return Draft(cmbs.MESSAGE, own, (cmbs.mixin("l32"),), attributes)


def check(event: Any) -> None:
    """Raises MalformedBody for what is no event."""
    if not isinstance(event, dict):
        raise MalformedBody("a CloudEvent is a JSON object")
    for name in REQUIRED:
        if not isinstance(event.get(name), str) or not event[name]:
            raise MalformedBody(f"a CloudEvent must say its {name!r}, a string", field=name)
    if event["specversion"] != "1.0":
        raise MalformedBody(f"CloudEvents {event['specversion'][:20]} are not read here, but 1.0", field="specversion")
    if "data" in event and "data_base64" in event:
        raise MalformedBody("a CloudEvent has data or data_base64, and not both", field="data")
    for name in event:
        if name != "data_base64" and not _NAME.fullmatch(name):
            raise MalformedBody(
                f"{name[:80]!r} is not an attribute's name in a CloudEvent",
                hint="Names are letters in lower case and digits.",
                field=name[:80],
            )


def from_headers(headers: Mapping[str, str], type: str, body: bytes) -> bytes:
    """An event whose attributes are headers (the binary mode of its HTTP binding) in the JSON format. ``headers``: those that
    begin with ``ce-``, without that, in lower case; ``type``: the Content-Type of the data."""
    event: dict[str, Any] = {name: unquote(text.strip('"')) for name, text in headers.items()}
    if type:
        event["datacontenttype"] = type
    if body:
        event |= _data(type, body)
    return codec.dumps(event)


def _data(type: str, body: bytes) -> dict[str, Any]:
    if not type or _JSON.fullmatch(type.partition(";")[0].strip()):
        return {"data": load(body)}
    if _TEXT.match(type):
        try:
            return {"data": body.decode()}
        except UnicodeDecodeError as exc:
            raise MalformedBody("the data is not in UTF-8") from exc
    return {"data_base64": base64.b64encode(body).decode()}


def event_of(message: Entity, url: str) -> bytes:
    """A message as an event: the one that it was made of, or one with its content as data."""
    content = message.attributes.get(cmbs.CONTENT)
    try:
        check(content)
    except MalformedBody:
        content = _made(message, url, content)
    return codec.dumps(content)


def _made(message: Entity, url: str, content: Any) -> dict[str, Any]:
    attributes = message.attributes
    topics = attributes.get(cmbs.TOPICS) or []
    origin = attributes.get(cmbs.ORIGIN)
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": message.id,
        "source": cmbs.urn(str(origin)) if origin else url,
        "type": str(topics[0]) if topics else f"cmbs.message.{attributes.get(cmbs.LAYER) or 'new'}",
    }
    if message.title:
        event["subject"] = message.title
    if at := attributes.get(cmbs.ACCEPTED_AT) or attributes.get(cmbs.RECEIVED_AT):
        event["time"] = at
    if content not in (None, ""):
        event |= {"datacontenttype": "application/json", "data": content}
    return event
