"""Tools for whole stores: check, count, copy."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pycmbs import codec
from pycmbs.errors import ConfigurationError, Conflict, RevisionConflict
from pycmbs.runtime import ThreadRuntime
from pycmbs.store import find_store, open_store
from pycmbs.store.base import OF_A_PROCESS, Change, Document, Query, Store, Write
from pycmbs.store.base import Advance as Progress
from pycmbs.store.files import name_it, under_way

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
            for type in (_COPY, *OF_A_PROCESS):
                found.ids.pop(type, None)
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
            yield from (f"{one.id} is listed, but not found by its id" for one in page if one.id not in by_id)
            for index, one in enumerate(page):
                if one.keys and not store.find(_by_key(one, index)):
                    yield f"{one.id} is not found by its keys"
            advance(len(page))
        yield from (f"{id} is in the change feed, but not listed" for id in sorted(ids - listed))
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
                raise Conflict(f"another process writes to {target.url}", hint="Copy to one of its own.") from exc
            advance(len(page))


def finish_copy(target: Store) -> None:
    """Remove the record of how far the copy is."""
    progress = target.get(_PROGRESS)
    if progress is not None:
        target.write([Write(_PROGRESS, _COPY, revision=progress.revision, delete=True)])


class Restored(NamedTuple):
    """What :func:`restore` did. ``kept``: where the file is that was there before, if one was."""

    url: str
    documents: int
    kept: Path | None


def back_up(source: Store, path: Path, advance: Progress) -> int:
    """Back a store up to a new SQLite file, even while others write to it; returns how many documents that holds.

    It is what the store was at one moment. Of one that cannot tell (CouchDB), all is in it that was written before this was
    called; what is written meanwhile is in it as far as it came in order. Raises ConfigurationError for a file that cannot be
    made.
    """
    documents = source.snapshot(path, advance)
    return _follow(source, path, advance) if documents is None else documents


def _follow(source: Store, path: Path, advance: Progress) -> int:
    """Copy all, and then what changed meanwhile, until nothing did."""
    try:
        with under_way(path) as new:
            new.unlink()
            target = open_store(f"sqlite:{new}", home=new.parent, runtime=ThreadRuntime())
            try:
                cursor = _end(source)
                found, done = survey(source), 0

                def count(more: int) -> None:
                    nonlocal done
                    done += more
                    advance(done, found.documents)

                copy(source, target, found, count)
                finish_copy(target)
                more = True
                while more:  # less than a page was read: it has caught up
                    changes, cursor = source.changes(cursor, limit=_PAGE)
                    _apply(changes, target)
                    more = len(changes) == _PAGE
                target.compact(keep=0)
                documents = survey(target).documents
            finally:
                target.close()
            name_it(new, path)
    except OSError as exc:
        raise ConfigurationError(f"{path} cannot be made: {exc}", path=str(path)) from exc
    return documents


def _end(store: Store) -> str:
    """The cursor behind all that there is now."""
    cursor = ""
    while True:
        changes, cursor = store.changes(cursor, limit=_PAGE)
        if not changes:
            return cursor


def _apply(changes: Sequence[Change], target: Store) -> None:
    """Have a copy hold what these changes came to."""
    there = target.get_many([one.id for one in changes])
    writes = []
    for one in changes:
        before = there.get(one.id)
        if one.type in OF_A_PROCESS or (one.document is None and before is None):
            continue
        revision = None if before is None else before.revision
        if one.document is None:
            writes.append(Write(one.id, one.type, revision=revision, delete=True))
        else:
            writes.append(Write(one.id, one.type, one.document.body, one.document.keys, revision))
    target.write(writes)


def restore(path: Path, url: str, *, home: Path, advance: Advance) -> Restored:
    """Have the store ``url``, which no broker may use, hold what a backup holds. What was in a SQLite file is kept beside it; a
    database on a server must be empty.

    Raises ConfigurationError for what is not a backup, Conflict for a database that is not empty."""
    implementation, rest = find_store(url)
    done = implementation.replace(rest, home=home, source=path)
    if done is not None:
        return Restored(*done)
    source = open_store(f"sqlite:{path}", home=home, runtime=ThreadRuntime(), create=False)
    target = open_store(url, home=home, runtime=ThreadRuntime())
    try:
        if not target.durable:
            raise ConfigurationError(f"the store {target.url!r} forgets everything", hint="Name another with --store.")
        found = survey(source)
        copy(source, target, found, advance)
        finish_copy(target)
        return Restored(target.url, found.documents, None)
    finally:
        source.close()
        target.close()
