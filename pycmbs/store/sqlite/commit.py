"""One SQLite write transaction: applies writes, and assigns each the number that is its revision and feed cursor."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from pycmbs import codec
from pycmbs.errors import RevisionConflict
from pycmbs.store.base import Batch, Document, Keys, Write
from pycmbs.store.sqlite import sql
from pycmbs.store.sqlite.runs import Index, Pair

_NEW = (0, 0)
"""The head of a type of which there was nothing yet."""


@dataclass(slots=True)
class Ready:
    """A write with all that can be prepared before the transaction, during which no other process can write."""

    write: Write
    keys: Keys
    keys_text: bytes
    body_text: bytes
    pairs: set[Pair]


def ready(batches: Sequence[Batch]) -> list[list[Ready]]:
    """The batches for :meth:`Commit.write`. Raises TypeError for what is not JSON."""
    return [[_ready(write) for write in batch] for batch in batches]


def _ready(write: Write) -> Ready:
    if write.delete:
        return Ready(write, {}, codec.dumps(dict(write.keys)), b"", set())
    keys = {name: values for name, values in write.keys.items() if values}
    return Ready(write, keys, codec.dumps(keys), codec.dumps(write.body), sql.key_rows(write.type, keys))


class Commit:
    """What happens between BEGIN and COMMIT."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._heads: dict[str, tuple[int, int]] = {}
        """Per type: the latest change, and the highest number."""
        self._last = 0
        for type, sequence, number in connection.execute(sql.HEADS):
            self._heads[type] = sequence, number
            self._last = max(self._last, sequence)
        self._begin = self._last
        self._index = Index()

    def write(self, batches: Sequence[Sequence[Ready]]) -> list[list[Document] | RevisionConflict]:
        """Write the batches; what each came to."""
        alone = len(batches) == 1
        outcome = [self._write_batch(batch, alone=alone) for batch in batches]
        self._index.write(self._connection)
        heads = [(type, *head) for type, head in self._heads.items() if head[0] > self._begin]
        self._connection.executemany(sql.SET_HEAD, heads)
        return outcome

    def _write_batch(self, batch: Sequence[Ready], *, alone: bool) -> list[Document] | RevisionConflict:
        """``alone``: there is no other in this transaction, so that refusing it undoes all of that."""
        if len(batch) == 1:
            try:
                return [self._apply(batch[0])]
            except RevisionConflict as exc:  # it has changed nothing
                return exc.with_traceback(None)  # it is a result: keeping it must not keep our frames alive
        last, heads, mark = self._last, dict(self._heads), self._index.mark()
        outcome: list[Document] | RevisionConflict
        if not alone:
            self._connection.execute("SAVEPOINT batch")
        try:
            outcome = [self._apply(one) for one in batch]
        except RevisionConflict as exc:
            if alone:
                self._connection.execute("ROLLBACK")
                self._connection.execute("BEGIN")  # an empty one, since the caller ends one
            else:
                self._connection.execute("ROLLBACK TO batch")
            self._last, self._heads = last, heads
            self._index.back(mark)
            outcome = exc.with_traceback(None)
        if not alone:
            self._connection.execute("RELEASE batch")
        return outcome

    def _apply(self, one: Ready) -> Document:
        """Do one write. Raises RevisionConflict, having changed nothing."""
        write, sequence = one.write, self._last + 1
        number = self._create(one, sequence) if write.revision is None else self._change(one, sequence)
        self._last = sequence
        self._heads[write.type] = sequence, max(number, self._heads.get(write.type, _NEW)[1])
        return Document(write.id, write.type, {} if write.delete else write.body, one.keys, str(sequence), number)

    def _create(self, one: Ready, sequence: int) -> int:
        execute, id, type = self._connection.execute, one.write.id, one.write.type
        number = self._heads.get(type, _NEW)[1] + 1
        row = (sequence, id, type, sequence, one.keys_text, one.body_text, number)
        if execute(sql.INSERT, row).rowcount == 0:
            if execute(sql.UNMARK, (id,)).rowcount == 0:
                raise RevisionConflict(f"{id} exists already", id=id)
            execute(sql.INSERT, row)
            self._heads[sql.UNMARKED] = sequence, 0
        self._index.change((type, number), one.pairs, set())
        return number

    def _change(self, one: Ready, sequence: int) -> int:
        execute, write = self._connection.execute, one.write
        current = execute(sql.CURRENT, (write.id, write.type)).fetchone()
        if current is None or str(current[2]) != write.revision:
            raise RevisionConflict(f"{write.id} was changed meanwhile", id=write.id)
        place: int
        number: int
        place, number, _, keys_text = current
        if write.delete or one.keys_text != keys_text:
            before = sql.key_rows(write.type, codec.loads(keys_text))
            self._index.change((write.type, number), one.pairs - before, before - one.pairs)
        if write.delete:
            execute(sql.DELETE, (place,))
            execute(sql.MARK, (sequence, write.id, write.type, sequence, one.keys_text, str(number)))
        else:
            execute(sql.REPLACE, (sequence, one.keys_text, one.body_text, place))
        return number
