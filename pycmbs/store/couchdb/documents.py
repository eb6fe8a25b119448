"""Layout of documents in CouchDB, and its view.

Pure data, no connection.

A document is ``{"_id", "_rev", "type", "number", "keys", "body"}``, readable as it is; ``index`` has the keys with long
values as they are indexed, ``numbers`` says where in the body a number stands as text (see couchdb_numbers). A deleted one
keeps its type and the keys that its deletion names, for the change feed. An id that has a colon begins with the type and a
colon: so the feed tells types without the documents, and ids sort by type. ``number`` is text of a fixed width, since
JavaScript has no integers of that size.
"""

from __future__ import annotations

import secrets
import threading
import time
import zlib
from typing import Any

from pycmbs.errors import RevisionConflict
from pycmbs.store.base import Document, Write
from pycmbs.store.couchdb.numbers import kept, restore
from pycmbs.store.index_keys import LONGEST, indexed

LAYOUT = 1
"""Of the documents and the view; kept in the document :data:`MARK`."""
MARK = "pycmbs"
"""The document that says that a database is a store of pyCMBS."""
DESIGN = "pycmbs"
VIEW = "keys"

# Values are emitted in hexadecimal UTF-8: servers compare text by ICU's rules or in UTF-16, and both agree with the order
# by code point only on digits and small letters.
_MAP = """function (doc) {
  function hex(text) {
    var bytes = unescape(encodeURIComponent(text)), out = '';
    for (var i = 0; i < bytes.length; i++) { out += (256 + bytes.charCodeAt(i)).toString(16).slice(1); }
    return out;
  }
  if (!doc.type || !doc.number) { return; }
  emit([doc.type, '', '', doc.number], null);
  for (var name in doc.keys) {
    var values = doc.index && doc.index[name] || doc.keys[name];
    for (var i = 0; i < values.length; i++) { emit([doc.type, name, hex(values[i]), doc.number], null); }
  }
}"""

DESIGN_DOCUMENT: dict[str, Any] = {
    "language": "javascript",
    "layout": LAYOUT,
    "views": {VIEW: {"map": _MAP, "reduce": "_count"}},
}

_WIDTH = 30
_NODE_BITS = 40


class Clock:
    """Numbers for new documents: microseconds, then a random part of this process, so that no two processes make the same
    one. Within a process they only grow."""

    def __init__(self) -> None:
        self._node = secrets.randbits(_NODE_BITS)
        self._last = 0
        self._lock = threading.Lock()

    def next(self) -> int:
        """The next number."""
        with self._lock:
            self._last = max(self._last + 1, time.time_ns() // 1000)
            return (self._last << _NODE_BITS) | self._node


def number_text(number: int) -> str:
    """A number as it is stored."""
    return f"{number:0{_WIDTH}d}"


def hexadecimal(text: str) -> str:
    """A value as the view emits it."""
    return indexed(text).encode().hex()


def revision_of(rev: str, number: int, type: str, id: str) -> str:
    """The store's revision: CouchDB's, with what an update must know of the document besides, and whose it is: a server takes
    any for a document that it never had."""
    return f"{rev} {number} {type} {_mark(id)}"


def rev_of(revision: str) -> str:
    """CouchDB's part of the store's revision."""
    return revision.partition(" ")[0]


def _mark(id: str) -> str:
    return f"{zlib.crc32(id.encode()):08x}"


def couch_document(write: Write, clock: Clock) -> dict[str, Any]:
    """What to store for a write. Raises RevisionConflict for a revision that this id and type never had,
    ValueError for an id that begins with another type."""
    if ":" in write.id and not write.id.startswith(f"{write.type}:"):
        raise ValueError(f"{write.id} does not begin with its type, {write.type}")
    if write.revision is None:
        return {"_id": write.id, **_content(write, clock.next())}
    rev, number, type, mark = (*write.revision.split(" ", 3), "", "", "")[:4]
    if (type, mark) != (write.type, _mark(write.id)) or not number.isdecimal():
        raise RevisionConflict(f"{write.id} was changed meanwhile", id=write.id)
    if write.delete:
        deleted: dict[str, Any] = {"_id": write.id, "_rev": rev, "_deleted": True, "type": write.type}
        return deleted | ({"keys": {name: list(some) for name, some in write.keys.items()}} if write.keys else {})
    return {"_id": write.id, "_rev": rev, **_content(write, int(number))}


def _content(write: Write, number: int) -> dict[str, Any]:
    keys = {name: list(values) for name, values in write.keys.items() if values}
    body, numbers = kept(write.body)
    content = {"type": write.type, "number": number_text(number), "keys": keys, "body": body}
    if numbers:
        content["numbers"] = numbers
    index = {name: [indexed(one) for one in values] for name, values in keys.items() if any(map(_is_long, values))}
    return {**content, "index": index} if index else content


def _is_long(text: str) -> bool:
    return len(text) > LONGEST


def written(write: Write, stored: dict[str, Any], rev: str) -> Document:
    """The document that a write made."""
    if write.delete:
        number = int(str(write.revision).split(" ", 2)[1])
        return Document(write.id, write.type, {}, {}, revision_of(rev, number, write.type, write.id), number)
    return document_from({**stored, "_rev": rev})


def document_from(found: dict[str, Any]) -> Document:
    """The document that CouchDB's holds."""
    number, type = int(found["number"]), found["type"]
    keys = {name: tuple(values) for name, values in found["keys"].items()}
    id, body = found["_id"], found["body"]
    if "numbers" in found:
        restore(body, found["numbers"])
    return Document(id, type, body, keys, revision_of(found["_rev"], number, type, id), number)


def is_document(found: Any) -> bool:
    """Whether it is one of the store's documents, and not deleted."""
    return isinstance(found, dict) and not found.get("_deleted") and "number" in found and "body" in found
