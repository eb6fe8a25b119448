"""What can be done with any store as a whole: looked through, counted, copied into another."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pycmbs import codec
from pycmbs.errors import Conflict, RevisionConflict
from pycmbs.store.base import Document, Query, Store, Write

_PAGE = 200
_PROGRESS = "copy:progress"
_COPY = "copy"

Advance = Callable[[int], Any]
"""Is told how many documents were dealt with."""


@dataclass(slots=True)
class Sum:
    """The documents of one type: how many, how many bytes of JSON, and a digest of all of them in order of creation."""

    documents: int = 0
    bytes: int = 0
    digest: str = ""


@dataclass(slots=True)
class Survey:
    """What the change feed of a store tells: the ids of the documents by type, and how many marks of deleted ones."""

    ids: dict[str, set[str]] = field(default_factory=dict)
    deleted: int = 0

    @property
    def documents(self) -> int:
        """How many there are."""
        return sum(map(len, self.ids.values()))


def survey(store: Store) -> Survey:
    """Read the change feed from its beginning."""
    found, cursor = Survey(), ""
    while True:
        changes, cursor = store.changes(cursor, limit=_PAGE)
        if not changes:
            found.ids.pop(_COPY, None)
            return found
        for change in changes:
            if change.document is None:
                found.deleted += 1
            else:
                found.ids.setdefault(change.type, set()).add(change.id)


def walk(store: Store, type: str, after: int = 0) -> Iterator[list[Document]]:
    """The documents of a type in order of creation, in pages."""
    while page := store.find(Query(type, after=after, limit=_PAGE)):
        yield page
        after = page[-1].number


def summed(store: Store, type: str, advance: Advance) -> Sum:
    """Read every document of a type."""
    total, digest = Sum(), hashlib.sha256()
    for page in walk(store, type):
        for one in page:
            text = codec.dumps([one.id, dict(one.keys), one.body], sort_keys=True)
            digest.update(text)
            total.documents += 1
            total.bytes += len(text)
        advance(len(page))
    total.digest = digest.hexdigest()
    return total


def faults(store: Store, found: Survey, advance: Advance) -> Iterator[str]:
    """A sentence for each thing that is not as it must be: every document is in the feed, under its type, under its id and
    under one of its keys."""
    for type, ids in sorted(found.ids.items()):
        listed: set[str] = set()
        for page in walk(store, type):
            listed |= {one.id for one in page}
            by_id = store.get_many([one.id for one in page])
            yield from (f"{one.id} is listed, and not found by its id" for one in page if one.id not in by_id)
            for index, one in enumerate(page):
                if one.keys and not store.find(_by_key(one, index)):
                    yield f"{one.id} is not found by its keys"
            advance(len(page))
        yield from (f"{id} is in the change feed, and not listed" for id in sorted(ids - listed))
        number = store.count(Query(type))
        if number != len(listed):
            yield f"{number} documents of the type {type} are counted, and {len(listed)} are listed"


def _by_key(document: Document, index: int) -> Query:
    """The question for one of its keys: in turn, as all of them of all documents would take hours."""
    names = sorted(document.keys)
    name = names[index % len(names)]
    return Query(document.type, {name: document.keys[name][-1]}, after=document.number - 1, limit=1)


def copy(source: Store, target: Store, found: Survey, advance: Advance) -> None:
    """Copy every document; where an earlier call was interrupted, go on. Numbers and revisions are the target's own.

    The order of creation is kept. Raises Conflict when the target holds anything else.
    """
    progress = target.get(_PROGRESS)
    if progress is None:
        if target.changes("", limit=1)[0]:
            raise Conflict(f"{target.url} is not empty", hint="Name one that is not there yet.")
        (progress,) = target.write([Write(_PROGRESS, _COPY, {"from": source.url, "after": {}})])
    if progress.body["from"] != source.url:
        raise Conflict(f"{target.url} is the copy of {progress.body['from']}", hint="Name one that is not there yet.")
    done: dict[str, str] = dict(progress.body["after"])  # as text: numbers of CouchDB's are too long for JSON
    for type in sorted(found.ids):
        for page in walk(source, type, int(done.get(type, 0))):
            done[type] = str(page[-1].number)
            # A kill may have left a part of this page in a store that is not atomic.
            there = target.get_many([one.id for one in page])
            writes = [Write(one.id, one.type, one.body, one.keys) for one in page if one.id not in there]
            mark = Write(_PROGRESS, _COPY, {"from": source.url, "after": done}, revision=progress.revision)
            try:
                (*_, progress) = target.write([*writes, mark])
            except RevisionConflict as exc:
                raise Conflict(f"somebody else writes to {target.url}", hint="Copy to one of its own.") from exc
            advance(len(page))


def finish_copy(target: Store) -> None:
    """Remove the record of how far the copy is."""
    progress = target.get(_PROGRESS)
    if progress is not None:
        target.write([Write(_PROGRESS, _COPY, revision=progress.revision, delete=True)])
