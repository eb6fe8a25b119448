"""Names: identifiers, terms, locations, ids, and the two spellings of layers 3.1 and 3.2."""

from __future__ import annotations

import functools
import re
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import uuid_utils

from pycmbs.errors import InvalidCategory, InvalidRequest
from pycmbs.ids import canonical_id, is_uuid
from pycmbs.occi import layers

_TERM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # GFD.221 4.2, with the digits that 2012 terms start with
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]{1,512}#")  # a URI that ends in "#": GFD.221 4.2
_LOCATION = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+/")
_ID = re.compile(r"[A-Za-z0-9._~!$'()*+,;=:@-]{1,200}")
_ATTRIBUTE = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){0,15}")
_ALWAYS_RESERVED = ("/-/", "/.well-known/")
RESERVED = (*_ALWAYS_RESERVED, "/livez/", "/metrics/", "/openapi.json/", "/readyz/", "/ui/")
"""The broker's own paths, each with what is below it: no kind and no entity is made there."""
_URN = "urn:uuid:"
_TAG = "tag:houssem.org,2012:cmbs:"  # RFC 4151
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:.+")
_SPELLED = {one.spelling: one.name for one in layers.TABLE.values() if one.spelling != one.name}
_LAYER = re.compile(rf"(?<![a-z0-9])({'|'.join(map(re.escape, _SPELLED))})(?![0-9])")
(_BEGINS,) = {spelling.partition(".")[0] + "." for spelling in _SPELLED}
"""What is in every name that has to be spelled otherwise: they are few, and this is asked of all."""


def canonical(name: str) -> str:
    """``l3.1`` and ``l3.2`` spelled as ``l31`` and ``l32`` in a CMBS attribute, action or mixin name.

    The README of 2012 writes ``l3.1_socket`` and ``start_l3.1``, its code ``l31``; OCCI allows only the latter, since an
    attribute's component must start with a letter (GFD.221 4.3.3).
    """
    return _LAYER.sub(lambda found: _SPELLED[found[0]], name) if _BEGINS in name else name


def identifier(scheme: str, term: str) -> str:
    """The type identifier of a category: scheme and term (GFD.221 4.2). Raises InvalidCategory."""
    if not isinstance(term, str) or not _TERM.fullmatch(term):
        raise InvalidCategory(
            f"{term!r} is not a category's term",
            hint="A term is letters, digits, '-', '_' and '.', as in 'member'.",
            field="term",
        )
    if not isinstance(scheme, str) or not _SCHEME.fullmatch(scheme):
        raise InvalidCategory(
            f"{scheme!r} is not the scheme of category {term!r}",
            hint="A scheme is a URI that ends in '#', as in 'http://houssem.org/cmbs#'.",
            field="scheme",
        )
    return scheme + canonical(term)


def check_attribute(name: str, category: str) -> str:
    """An attribute's full name: components joined by dots (GFD.229 5.4), of which it has 16 at most. Raises InvalidCategory."""
    if not _ATTRIBUTE.fullmatch(name) or len(name) > 255:
        raise InvalidCategory(
            f"{name[:255]!r} is not an attribute's name for {category}",
            hint="A name is letters, digits, '-' and '_', in up to 16 parts with dots between, as in 'cmbs.member.state'.",
            field="attributes",
        )
    return name


def split_identifier(text: str) -> tuple[str, str]:
    """Scheme and term of an identifier. Raises InvalidCategory."""
    if not isinstance(text, str):
        raise InvalidCategory(f"a category's identifier is a string, not {text!r}")
    scheme, mark, term = text.rpartition("#")
    identifier(scheme + mark, term)
    return scheme + mark, canonical(term)


def whole(text: Any) -> str:
    """The identifier as it is kept. Raises InvalidCategory."""
    return _whole(text) if isinstance(text, str) else "".join(split_identifier(text))


@functools.lru_cache(maxsize=4096)
def _whole(text: str) -> str:
    return "".join(split_identifier(text))


def is_reserved(path: str) -> bool:
    """Whether a path, of an entity or a collection, is one of the broker's own."""
    return (path if path.endswith("/") else path + "/").startswith(RESERVED)


def check_location(text: object, category: str) -> str:
    """A kind's or mixin's location: a path that starts and ends with '/' (GFD.185 3.3). Raises InvalidCategory."""
    if not isinstance(text, str) or not _LOCATION.fullmatch(text) or "/../" in text or "/./" in text:
        raise InvalidCategory(
            f"{text!r} is not a location for {category}",
            hint="A location is a path that starts and ends with '/', as in '/cmbs/member/'.",
            field="location",
        )
    if text.startswith(_ALWAYS_RESERVED):  # at the others a category of an earlier version may be
        raise InvalidCategory(f"the location {text!r} is the broker's own", field="location")
    return text


def new_id() -> str:
    """A time-ordered UUID (RFC 9562, version 7): ids in order of creation keep a store's index compact."""
    return str(uuid_utils.uuid7())


def plain_id(text: str) -> str:
    """An id as it is kept, whether it comes so, as a URN, or as :func:`uri` writes it. What is not an id is returned as it
    is."""
    if text.startswith(_TAG):
        text = unquote(text).rpartition("/")[2]
    elif text[: len(_URN)].lower() == _URN:
        text = text[len(_URN) :]
    return canonical_id(text)


def bare_id(text: object) -> str:
    """The same of what a client or another member says is an id. Raises InvalidRequest for what cannot be the last segment of a
    path: a URL is where something is, and no id."""
    if isinstance(text, str):
        bare = plain_id(text)
        if _ID.fullmatch(bare) and bare not in (".", ".."):
            return bare
    raise InvalidRequest(
        f"{text!r:.300} is not an id",
        hint="An id is a UUID, or up to 200 of the characters A-Z a-z 0-9 . _ ~ ! $ ' ( ) * + , ; = : @ -.",
        field="id",
    )


def uri(path: str, id: str) -> str:
    """The id of the entity at ``path`` as a URI, the same under whatever name the broker is asked: a UUID's URN; an id that is
    a URI; else a tag URI of the path, since ids are unique below one location only."""
    if is_uuid(id):
        return _URN + id
    return id if _URI.fullmatch(id) else _TAG + quote(path, safe="/~!$'()*+,;=:@-._")


def canonical_path(path: str) -> str:
    """The path at which an entity is kept, from any spelling of it."""
    _, tagged, inside = path.partition(_TAG)  # a client may make a path of a location and the id that it was shown
    folder, slash, last = (inside if tagged else path).rpartition("/")
    return folder + slash + plain_id(last)


def spellings(path: str) -> tuple[str, ...]:
    """Where the entity of a path may be: as it is kept, and, for a UUID, as given and in upper case, as versions up to 0.3 may
    have kept it."""
    kept = canonical_path(path)
    folder, slash, last = kept.rpartition("/")
    if not is_uuid(last):
        return (kept,)
    given = path.rpartition("/")[2]
    given = given[len(_URN) :] if given[: len(_URN)].lower() == _URN else given
    return tuple(dict.fromkeys((folder + slash + given, kept, folder + slash + last.upper())))


def folder_of(path: str) -> str:
    """The path of the collection that an entity's path is in, with its slash."""
    return path[: path.rfind("/") + 1]


def check_path(path: str) -> str:
    """The id at the end of a path at which an entity may be. Raises InvalidRequest."""
    *folders, last = path.split("/")[1:]
    if any(folder in ("", ".", "..") for folder in folders) or is_reserved(path):
        raise InvalidRequest(f"there can be no entity at {path[:200]}", field="location")
    return bare_id(last)


def local_path(url: str) -> str:
    """The path of an entity or a location from its URL or path as a client sent it. Raises InvalidRequest."""
    try:
        return unquote(urlsplit(url).path) if "://" in url else unquote(url)
    except ValueError as exc:
        raise InvalidRequest(f"{url[:200]!r} is not a URL") from exc
