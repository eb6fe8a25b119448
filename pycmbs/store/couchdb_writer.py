"""Batches into a database that knows only single documents: checked, written in two steps, and undone after a conflict.

All documents of a batch but the last are written first, those of all batches with one request; the last ones with the next.
So a batch counts from the moment when its last document is there, and a kill in between leaves documents that nobody takes
for valid without it. A conflict is noticed before anything is written, unless somebody writes in the same moment: then what
the batch has written is taken back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pycmbs import codec
from pycmbs.errors import RevisionConflict, StoreUnavailable
from pycmbs.store.base import Batch, Document
from pycmbs.store.couchdb_client import CouchClient
from pycmbs.store.couchdb_documents import Clock, couch_document, written

_MOST_DOCUMENTS = 200
"""In one request; more would take longer than a call may."""
_MOST_BYTES = 8_000_000
"""The same, of one request's documents."""

Outcome = list[Document] | RevisionConflict


@dataclass(slots=True)
class _Plan:
    """One batch on its way. ``before``: the documents as they were; ``revs``: of those written, by id."""

    writes: Batch
    documents: list[dict[str, Any]]
    before: dict[str, dict[str, Any]] = field(default_factory=dict)
    revs: dict[str, str] = field(default_factory=dict)
    conflict: RevisionConflict | None = None

    def refuse(self, id: str) -> None:
        """A condition does not hold."""
        if self.conflict is None:
            self.conflict = RevisionConflict(f"{id} was changed meanwhile", id=id)

    def outcome(self) -> Outcome:
        """What became of it."""
        if self.conflict is not None:
            return self.conflict
        pairs = zip(self.writes, self.documents, strict=True)
        return [written(write, stored, self.revs[write.id]) for write, stored in pairs]


class Writer:
    """Writes batches through a client."""

    def __init__(self, client: CouchClient) -> None:
        self._client = client
        self._clock = Clock()

    def write(self, batches: Sequence[Batch]) -> list[Outcome]:
        """See :meth:`~pycmbs.store.base.Store.write_batches`."""
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
        return [outcomes[index] for index in range(len(batches))]

    def _write(self, plans: list[_Plan]) -> None:
        several = [plan for plan in plans if len(plan.documents) > 1]
        self._check(several)
        self._step([(plan, plan.documents[:-1]) for plan in several if plan.conflict is None])
        self._step([(plan, plan.documents[-1:]) for plan in plans if plan.conflict is None])
        self._undo([plan for plan in plans if plan.conflict is not None and plan.revs])

    def _check(self, plans: list[_Plan]) -> None:
        """Refuse the batches with a condition that does not hold now."""
        ids = [document["_id"] for plan in plans for document in plan.documents]
        found = self.current(ids)
        for plan in plans:
            for write in plan.writes:
                row = found.get(write.id)
                if row is not None and "doc" in row:
                    plan.before[write.id] = row["doc"]
                rev = row["doc"]["_rev"] if row is not None else None
                if rev != (write.revision.split(" ", 1)[0] if write.revision is not None else None):
                    plan.refuse(write.id)

    def current(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The rows of those that exist, with their documents, by id."""
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(ids), _MOST_DOCUMENTS):
            keys = {"keys": list(ids[start : start + _MOST_DOCUMENTS])}
            _, answer = self._client.call("POST", "_all_docs", body=keys, include_docs=True)
            found |= {row["id"]: row for row in answer["rows"] if row.get("doc")}
        return found

    def _step(self, parts: list[tuple[_Plan, list[dict[str, Any]]]]) -> None:
        results = self._bulk(document for _, documents in parts for document in documents)
        for plan, documents in parts:
            for document in documents:
                rev = results[document["_id"]]
                if rev is None:
                    plan.refuse(document["_id"])
                else:
                    plan.revs[document["_id"]] = rev

    def _undo(self, plans: list[_Plan]) -> None:
        """Take back what refused batches have written. What somebody else has changed since then stays as that is."""
        back: list[dict[str, Any]] = []
        for plan in plans:
            for document in plan.documents:
                id = document["_id"]
                if id in plan.revs:
                    before = plan.before.get(id, {"_id": id, "_deleted": True, "type": document["type"]})
                    back.append({**before, "_rev": plan.revs[id]})
        self._bulk(back)

    def _bulk(self, documents: Iterable[dict[str, Any]]) -> dict[str, str | None]:
        """Write documents; their new revisions by id, None for a conflict. Raises StoreUnavailable."""
        results: dict[str, str | None] = {}
        for chunk in _chunks(documents):
            status, answer = self._client.call("POST", "_bulk_docs", body={"docs": chunk})
            if status == 202:
                raise StoreUnavailable(
                    "too few nodes of the CouchDB cluster have written it (202): it may be lost, or still be there later",
                    hint="See which nodes are down.",
                )
            for row in answer:
                error = row.get("error")
                if error not in {None, "conflict"}:
                    reason = f"{error}: {row.get('reason')}"
                    raise StoreUnavailable(f"CouchDB does not write {row.get('id')}: {reason}")
                results[row["id"]] = None if error else row["rev"]
        return results


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
