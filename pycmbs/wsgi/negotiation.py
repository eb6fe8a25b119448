"""Which rendering reads a body and which writes the answer (RFC 9110 12.5.1; GFD.223 5.3; doc/adr/0008)."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from webob.acceptparse import create_accept_header

from pycmbs.errors import NotAcceptable, UnsupportedMediaType, UnsupportedVersion
from pycmbs.occi.rendering import Reader, Writer
from pycmbs.occi.rendering.cloud_events import CloudEventsReader
from pycmbs.occi.rendering.json_12 import Json12Writer
from pycmbs.occi.rendering.json_2012 import JsonWriter
from pycmbs.occi.rendering.json_reader import JsonReader
from pycmbs.occi.rendering.text import TextReader, TextWriter
from pycmbs.occi.rendering.uri_list import UriListReader, UriListWriter

JSON, TEXT, HEADERS, URI_LIST = "application/occi+json", "text/plain", "text/occi", "text/uri-list"
CLOUD_EVENT, CLOUD_EVENTS = "application/cloudevents+json", "application/cloudevents-batch+json"
JSON_TYPES = frozenset({JSON, "application/json"})
READERS: dict[str, Reader] = {
    JSON: JsonReader(),
    "application/json": JsonReader(),
    TEXT: TextReader(),
    "text/occi+plain": TextReader(),
    HEADERS: TextReader(),
    URI_LIST: UriListReader(),
    CLOUD_EVENT: CloudEventsReader(),
    CLOUD_EVENTS: CloudEventsReader(),
}
WRITERS: dict[str, Writer] = {
    TEXT: TextWriter(),
    "text/occi+plain": TextWriter(),
    JSON: JsonWriter(),
    "application/json": JsonWriter(),
    HEADERS: TextWriter(),
    URI_LIST: UriListWriter(),
    CLOUD_EVENT: JsonWriter(),
}
"""By media type; of those that a client likes equally, the first is taken."""
OCCI_12: Writer = Json12Writer()

PROBLEM = "application/problem+json"
"""How errors may be written, and nothing else."""
_PROBLEM = re.compile(r"application/problem\+json[^,]*,?", re.IGNORECASE)
_NEWEST = (1, 2)
_VERSION = re.compile(r"\bOCCI/([0-9]{1,3})\.([0-9]{1,3})", re.IGNORECASE)
_PARAMETER = re.compile(r";\s*(?!q\s*=)([A-Za-z0-9_-]+)\s*=\s*(\"[^\"]*\"|[^;,\s]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rendition:
    """How an answer is written. ``pretty`` for curl, and for clients that did not ask for a type: most likely people."""

    writer: Writer
    content_type: str
    pretty: bool

    @property
    def in_headers(self) -> bool:
        """Whether the answer's fields are headers."""
        return self.content_type == HEADERS


DEFAULT = Rendition(WRITERS[TEXT], TEXT, pretty=True)
_JSON_SENT = JSON_TYPES | {CLOUD_EVENT, CLOUD_EVENTS}
_JSON_DEFAULT = Rendition(WRITERS[JSON], JSON, pretty=True)


@functools.lru_cache(maxsize=1024)
def wants_problem(accept: str | None) -> bool:
    """Whether a client says by name that it takes errors as problem details (RFC 9457)."""
    if accept is None or PROBLEM not in accept.lower():
        return False
    header = create_accept_header(accept)
    return bool(hasattr(header, "acceptable_offers") and header.acceptable_offers([PROBLEM]))


@functools.lru_cache(maxsize=256)
def media_type(content_type: str) -> str:
    """The type alone, in lower case; of several (rOCCI lists two) the first that is read here, or else the first."""
    types = [one.partition(";")[0].strip().lower() for one in content_type.split(",")]
    return next((one for one in types if one in READERS), types[0])


@functools.lru_cache(maxsize=256)
def default(sent: str) -> Rendition:
    """The rendition for a client that does not care, by the type of what it sent: JSON for JSON, else what GFD.185 3.6.6
    asks for."""
    return _JSON_DEFAULT if sent in _JSON_SENT else DEFAULT


@functools.lru_cache(maxsize=1024)
def rendition(accept: str | None, agent: str, sent: str) -> Rendition:
    """The rendition for an Accept header, a User-Agent and the type of what was sent.

    Raises NotAcceptable naming the types there are.
    """
    version = _asked_version(agent)
    if accept is not None and PROBLEM in accept.lower():
        accept = _PROBLEM.sub("", accept).strip(" ,") or JSON
    if accept is None or not accept.strip() or accept.strip() == "*/*":
        return _in_version(default(sent), version)
    said = [text.strip('"') for name, text in _PARAMETER.findall(accept) if name.lower() == "version"]
    offers = [one for one in WRITERS if one in JSON_TYPES] if sent in _JSON_SENT else []
    offers += [one for one in WRITERS if one not in offers]
    header = create_accept_header(without_parameters(accept))
    found = header.acceptable_offers(offers) if hasattr(header, "acceptable_offers") else []
    if not found:
        raise NotAcceptable(
            f"no rendering is {accept[:200]!r}", hint=f"Accept {' or '.join(WRITERS)}.", supported=list(WRITERS)
        )
    best = max(quality for _, quality in found)
    chosen = next(one for one in offers if (one, best) in found)
    if "1.2" in said:
        version = _NEWEST
    return _in_version(Rendition(WRITERS[chosen], chosen, pretty="*/*" in accept or agent.startswith("curl/")), version)


def without_parameters(accept: str) -> str:
    """An Accept header with nothing but types and what they are worth: no parameter chooses another type here."""
    return _PARAMETER.sub("", accept)


def _versions(agent: str) -> list[tuple[int, int]]:
    """The versions of OCCI that a User-Agent names."""
    return [(int(major), int(minor)) for major, minor in _VERSION.findall(agent)]


def _asked_version(agent: str) -> tuple[int, int] | None:
    return max((one for one in _versions(agent) if one <= _NEWEST), default=None)


@functools.lru_cache(maxsize=1024)
def check_version(agent: str) -> None:
    """Raises UnsupportedVersion for a client newer than this (GFD.223 5.7)."""
    said = _versions(agent)
    if said and min(said) > _NEWEST:
        raise UnsupportedVersion(
            f"this broker speaks OCCI 1.2 and 1.1, not {'.'.join(map(str, min(said)))}",
            hint="Say OCCI/1.2 in User-Agent, or nothing.",
        )


def _in_version(found: Rendition, version: tuple[int, int] | None) -> Rendition:
    if version == _NEWEST and found.content_type in JSON_TYPES:
        return Rendition(OCCI_12, found.content_type, found.pretty)
    return found


@functools.lru_cache(maxsize=256)
def reader(content_type: str) -> Reader:
    """The reader of a body of this media type. Raises UnsupportedMediaType naming the types there are."""
    found = READERS.get(content_type)
    if found is None:
        said = f"is {content_type[:100]!r}, which" if content_type else "has no Content-Type, so it"
        raise UnsupportedMediaType(
            f"the body {said} cannot be read here",
            hint=f"Send -H 'Content-Type: {JSON}'.",
            supported=list(READERS),
        )
    return found
