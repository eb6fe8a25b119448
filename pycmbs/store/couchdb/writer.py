"""Writes batches into a database that is atomic for single documents only: in two steps, undone after a conflict.

All documents of a batch but the last are written first, those of all batches with one request; the last ones with the next.
So a batch counts from the moment when its last document is there, and a kill in between leaves documents that are not valid
without it. A conflict is noticed before anything is written, unless another process writes at the same moment: then what the
batch has written is taken back. A batch of nothing but new documents with drawn ids depends on nothing, and is written with
the last ones as a whole.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pycmbs import codec
from pycmbs.errors import CmbsError, RevisionConflict, StoreUnavailable, TooLarge
from pycmbs.store.base import Batch, Document, decided
from pycmbs.store.couchdb.answers import checked
from pycmbs.store.couchdb.client import CouchClient
from pycmbs.store.couchdb.documents import Clock, couch_document, rev_of, written
from pycmbs.store.couchdb.errors import Failed

log = logging.getLogger(__name__)

_MOST_DOCUMENTS = 200
"""In one request; more would take longer than a call may."""
_MOST_BYTES = 8_000_000
"""The same, of one request's documents."""

_MOST_FAILURES = 3
"""Documents that a server fails at one after the other, until it is taken to fail at all of them."""

Outcome = list[Document] | RevisionConflict | CmbsError


@dataclass(slots=True)
class _Plan:
    """One batch on its way. ``before``: the documents as they were; ``revs``: of those written, by id."""

    writes: Batch
    documents: list[dict[str, Any]]
    before: dict[str, dict[str, Any]] = field(default_factory=dict)
    revs: dict[str, str] = field(default_factory=dict)
    refusal: RevisionConflict | CmbsError | None = None

    @property
    def first(self) -> list[dict[str, Any]]:
        """What is to be there before the rest is written."""
        return [] if all(write.drawn for write in self.writes) else self.documents[:-1]

    def refuse(self, id: str, error: CmbsError | None = None) -> None:
        """A condition does not hold, or the server fails at a document."""
        if self.refusal is None:
            self.refusal = error or RevisionConflict(f"{id} was changed meanwhile", id=id)

    def outcome(self) -> Outcome:
        """What became of it."""
        if self.refusal is not None:
            return self.refusal
        pairs = zip(self.writes, self.documents, strict=True)
        return [written(write, stored, self.revs[write.id]) for write, stored in pairs]


class Writer:
    """Writes batches through a client."""

    def __init__(self, client: CouchClient) -> None:
        self._client = client
        self._clock = Clock()

    def write(self, batches: Sequence[Batch]) -> list[list[Document] | RevisionConflict]:
        """See :meth:`~pycmbs.store.base.Store.write_batches`. Raises SomeUnwritten when the server fails at some of them, and
        TooLarge or StoreUnavailable."""
        outcomes: dict[int, Outcome] = {}
        plans: dict[int, _Plan] = {}
        for index, batch in enumerate(batches):  # all before any is written: numbers follow the order of the batches
            try:
                plans[index] = _Plan(batch, [couch_document(write, self._clock) for write in batch])
            except RevisionConflict as exc:
                outcomes[index] = exc.with_traceback(None)
        for wave in _waves(batches):
            self._write([plans[index] for index in wave if index in plans])
        outcomes |= {index: plan.outcome() for index, plan in plans.items()}
        return decided([outcomes[index] for index in range(len(batches))])

    def _write(self, plans: list[_Plan]) -> None:
        first = [(plan, plan.first) for plan in plans]
        self._check([plan for plan, documents in first if documents])
        self._step([(plan, documents) for plan, documents in first if documents and plan.refusal is None])
        rest = [(plan, plan.documents[len(documents) :]) for plan, documents in first]
        self._step([(plan, documents) for plan, documents in rest if plan.refusal is None])
        self._undo([plan for plan in plans if plan.refusal is not None and plan.revs])

    def _check(self, plans: list[_Plan]) -> None:
        """Refuse the batches with a condition that does not hold now."""
        ids = [document["_id"] for plan in plans for document in plan.documents]
        found = self._client.documents(ids)
        for plan in plans:
            for write in plan.writes:
                document = found.get(write.id)
                if document is not None:
                    plan.before[write.id] = document
                rev = document["_rev"] if document is not None else None
                if rev != (rev_of(write.revision) if write.revision is not None else None):
                    plan.refuse(write.id)

    def _step(self, parts: list[tuple[_Plan, list[dict[str, Any]]]]) -> None:
        results = self._bulk(document for _, documents in parts for document in documents)
        for plan, documents in parts:
            for document in documents:
                result = results[document["_id"]]
                if isinstance(result, str):
                    plan.revs[document["_id"]] = result
                else:
                    plan.refuse(document["_id"], result)

    def _undo(self, plans: list[_Plan]) -> None:
        """Take back what refused batches have written. What others have changed since then stays as it is."""
        for plan in plans:
            back = [_as_before(plan, document) for document in plan.documents if document["_id"] in plan.revs]
            lost = [id for id, result in self._bulk(back).items() if not isinstance(result, str)]
            if lost:
                there = self._client.documents(lost)
                lost = [id for id in lost if there.get(id, {}).get("_rev") == plan.revs[id]]
            for id in lost:
                log.error("%s could not be restored after a write that was refused", id)

    def _bulk(self, documents: Iterable[dict[str, Any]]) -> dict[str, str | CmbsError | None]:
        """Write documents; by id their new revisions, None for a conflict, or the error if the server fails at one. Raises
        StoreUnavailable when it does not answer."""
        results: dict[str, str | CmbsError | None] = {}
        for chunk in _chunks(documents):
            self._bulk_apart(chunk, results)
        return results

    def _bulk_apart(self, chunk: list[dict[str, Any]], results: dict[str, str | CmbsError | None]) -> None:
        """Write some; if the server fails at them together, in halves, so that one that it cannot write harms no other."""
        left, failures = [chunk], 0
        while left:
            some = left.pop()
            try:
                status, answer = self._client.call("POST", "_bulk_docs", body={"docs": some})
            except (Failed, TooLarge) as exc:
                if len(some) == 1 or failures >= _MOST_FAILURES:
                    failures += 1
                    results |= {document["_id"]: exc.with_traceback(None) for document in some}
                else:
                    half = len(some) // 2
                    left += [some[half:], some[:half]]
                continue
            if status == 202:
                raise StoreUnavailable(
                    "too few nodes of the CouchDB cluster have written it (202): it may be lost, or still be there later",
                    hint="See which nodes are down.",
                )
            failures = 0
            for row in checked(answer, "rows", "id"):
                results[row["id"]] = _result(row)
            for document in some:
                results.setdefault(document["_id"], Failed(f"CouchDB does not say whether it wrote {document['_id']}"))


def _result(row: dict[str, Any]) -> str | CmbsError | None:
    """What became of one document of a request."""
    error = row.get("error")
    if error == "conflict":
        return None
    if error is not None:
        return Failed(f"CouchDB does not write {row.get('id')}: {error}: {row.get('reason')}")
    if "rev" not in row:
        return Failed(f"CouchDB does not say whether it wrote {row.get('id')}")
    return str(row["rev"])


def _as_before(plan: _Plan, document: dict[str, Any]) -> dict[str, Any]:
    """What takes back a document that was written."""
    id = document["_id"]
    before = plan.before.get(id, {"_id": id, "_deleted": True, "type": document["type"]})
    if document.get("_deleted"):  # a server takes a deleted one again only as one that never was
        return {name: value for name, value in before.items() if name != "_rev"}
    return {**before, "_rev": plan.revs[id]}


def _waves(batches: Sequence[Batch]) -> list[list[int]]:
    """The batches' indexes, in groups: one that names a document of an earlier batch comes in a later group."""
    waves: list[list[int]] = []
    latest: dict[str, int] = {}
    for index, batch in enumerate(batches):
        number = max((latest.get(write.id, -1) + 1 for write in batch), default=0)
        latest |= {write.id: number for write in batch}
        if number == len(waves):
            waves.append([])
        waves[number].append(index)
    return waves


def _chunks(documents: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    size = 0
    for document in documents:
        length = len(codec.dumps(document))
        if chunk and (len(chunk) == _MOST_DOCUMENTS or size + length > _MOST_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(document)
        size += length
    if chunk:
        yield chunk
