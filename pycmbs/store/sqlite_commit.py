"""The writes of one transaction of the SQLite store."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from pycmbs import codec
from pycmbs.errors import RevisionConflict
from pycmbs.store import sqlite_sql as sql
from pycmbs.store.base import Batch, Document, Write
from pycmbs.store.sqlite_runs import Index


class Commit:
    """What happens between BEGIN and COMMIT."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._last: int = connection.execute(sql.LAST).fetchone()[0] or 0
        self._heads: dict[str, int] = {}
        self._index = Index()

    def write(self, batches: Sequence[Batch]) -> list[list[Document] | RevisionConflict]:
        """Write the batches; what each came to."""
        alone = len(batches) == 1
        outcome = [self._write_batch(batch, alone=alone) for batch in batches]
        self._index.write(self._connection)
        self._connection.executemany(sql.SET_HEAD, list(self._heads.items()))
        return outcome

    def _write_batch(self, batch: Batch, *, alone: bool) -> list[Document] | RevisionConflict:
        """``alone``: there is no other in this transaction, so that refusing it undoes all of that."""
        several = len(batch) > 1  # a single write that is refused has changed nothing
        last, heads, mark = self._last, dict(self._heads), self._index.mark()
        outcome: list[Document] | RevisionConflict
        if several and not alone:
            self._connection.execute("SAVEPOINT batch")
        try:
            outcome = [self._apply(write) for write in batch]
        except RevisionConflict as exc:
            if several and alone:
                self._connection.execute("ROLLBACK")
                self._connection.execute("BEGIN")  # with nothing in it: whoever began a transaction ends one
            elif several:
                self._connection.execute("ROLLBACK TO batch")
            self._last, self._heads = last, heads
            self._index.back(mark)
            outcome = exc.with_traceback(None)  # it is a result: whoever keeps it keeps no frames of ours
        if several and not alone:
            self._connection.execute("RELEASE batch")
        return outcome

    def _apply(self, write: Write) -> Document:
        """Do one write. Raises RevisionConflict, having changed nothing."""
        keys = {} if write.delete else {name: values for name, values in write.keys.items() if values}
        body = {} if write.delete else write.body
        sequence = self._last + 1
        number = self._create(write, sequence, keys) if write.revision is None else self._change(write, sequence, keys)
        self._last = self._heads[write.type] = sequence
        return Document(write.id, write.type, body, keys, str(sequence), number)

    def _create(self, write: Write, sequence: int, keys: dict[str, tuple[str, ...]]) -> int:
        execute = self._connection.execute
        row = (sequence, write.id, write.type, sequence, codec.dumps(keys), codec.dumps(write.body))
        if execute(sql.INSERT, row).rowcount == 0:
            if execute(sql.UNMARK, (write.id,)).rowcount == 0:
                raise RevisionConflict(f"{write.id} exists already", id=write.id)
            execute(sql.INSERT, row)
            self._heads[sql.UNMARKED] = sequence
        self._index.change(sequence, sql.key_rows(write.type, keys), 1)
        return sequence

    def _change(self, write: Write, sequence: int, keys: dict[str, tuple[str, ...]]) -> int:
        execute = self._connection.execute
        current = execute(sql.CURRENT, (write.id, write.type)).fetchone()
        if current is None or str(current[1]) != write.revision:
            raise RevisionConflict(f"{write.id} was changed meanwhile", id=write.id)
        number: int = current[0]
        text = codec.dumps(keys)
        if text != current[2]:
            before = sql.key_rows(write.type, codec.loads(current[2]))
            after = sql.key_rows(write.type, keys)
            self._index.change(number, before - after, -1)
            self._index.change(number, after - before, 1)
        if write.delete:
            execute(sql.DELETE, (number,))
            execute(sql.MARK, (sequence, write.id, write.type, sequence, str(number)))
        else:
            execute(sql.REPLACE, (sequence, text, codec.dumps(write.body), number))
        return number
