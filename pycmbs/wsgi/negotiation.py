"""Which rendering reads a body and which writes the answer (RFC 9110 12.5.1; GFD.223 5.3)."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from webob.acceptparse import create_accept_header

from pycmbs.errors import NotAcceptable, UnsupportedMediaType
from pycmbs.occi.rendering import Reader, Writer
from pycmbs.occi.rendering.json_2012 import JsonReader, JsonWriter

JSON = "application/occi+json"
READERS: dict[str, Reader] = {JSON: JsonReader(), "application/json": JsonReader()}
WRITERS: dict[str, Writer] = {JSON: JsonWriter(), "application/json": JsonWriter()}


@dataclass(frozen=True, slots=True)
class Rendition:
    """How an answer is written. ``pretty`` for whoever did not ask for a type: most likely a person."""

    writer: Writer
    content_type: str
    pretty: bool


DEFAULT = Rendition(WRITERS[JSON], JSON, pretty=True)


@functools.lru_cache(maxsize=256)
def rendition(accept: str | None) -> Rendition:
    """The rendition for an Accept header. Raises NotAcceptable naming the types there are."""
    if accept is None or not accept.strip() or accept.strip() == "*/*":
        return DEFAULT
    offers = create_accept_header(accept).acceptable_offers(list(WRITERS))
    if not offers:
        raise NotAcceptable(
            f"no rendering is {accept[:200]!r}", hint=f"Accept {' or '.join(WRITERS)}.", supported=list(WRITERS)
        )
    chosen = offers[0][0]
    return Rendition(WRITERS[chosen], chosen, pretty="*/*" in accept)


@functools.lru_cache(maxsize=256)
def reader(content_type: str | None) -> Reader:
    """The reader of a body of this type. Raises UnsupportedMediaType naming the types there are."""
    name = (content_type or "").partition(";")[0].strip().lower()
    found = READERS.get(name)
    if found is None:
        said = f"is {name[:100]!r}, which" if name else "has no Content-Type, so it"
        raise UnsupportedMediaType(
            f"the body {said} cannot be read here",
            hint=f"Send -H 'Content-Type: {JSON}'.",
            supported=list(READERS),
        )
    return found
