"""The key table's runs: how they are written, and the queries that go through them (see :mod:`pycmbs.store.sqlite.sql`)."""

# ruff: noqa: S608 - what statements are put together from are constants
from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pycmbs.store.base import Query
from pycmbs.store.index_keys import indexed
from pycmbs.store.sqlite import sql

STRETCH = 4096
"""How many numbers of a type :mod:`pycmbs.store.sqlite.ranks` counts together: no run goes beyond a multiple of it."""

Pair = tuple[str, str]
"""A name and a value, as the key table has them."""

Which = tuple[str, int]
"""A document: its type, and its number."""

_OF_TYPE = "d.type = :type AND d.deleted = 0"
_OF = "FROM keys WHERE name = ? AND value = ?"
_INSERT = "INSERT INTO keys (name, value, number, last) VALUES (?, ?, ?, ?)"
# Behind the latest run before it where that one ends, if they may be one; else a row of its own.
_ADD = f"""INSERT INTO keys (name, value, number, last) VALUES (?, ?, coalesce(
    (SELECT CASE max(number, last) WHEN ? THEN number END {_OF} AND number < ? ORDER BY number DESC LIMIT 1), ?), ?)
    ON CONFLICT (name, value, number) DO UPDATE SET last = excluded.last"""
_DROP_SINGLE = f"DELETE {_OF} AND number = ? AND last <= number"
_DROP = f"DELETE {_OF} AND number = ?"
_SHORTEN = "UPDATE keys SET last = ? WHERE name = ? AND value = ? AND number = ?"
_LATEST = f"SELECT number, max(number, last) {_OF} AND number <= ? ORDER BY number DESC LIMIT 1"
_WITHIN = f"SELECT number, max(number, last) {_OF} AND number > ? AND number <= ?"
STATEMENTS = (_INSERT, _ADD, _DROP_SINGLE, _DROP, _SHORTEN, _LATEST, _WITHIN)


class Index:
    """What one transaction changes of the key table. It is written at its end, as whole runs."""

    def __init__(self) -> None:
        self._changes: list[tuple[Which, set[Pair], set[Pair]]] = []

    def change(self, which: Which, gained: set[Pair], lost: set[Pair]) -> None:
        """A document has values that it had not, and lost others."""
        self._changes.append((which, gained, lost))

    def mark(self) -> int:
        """A point to which :meth:`back` goes."""
        return len(self._changes)

    def back(self, mark: int) -> None:
        """Forget what came since."""
        del self._changes[mark:]

    def write(self, connection: sqlite3.Connection) -> None:
        """Have the key table say so."""
        net: dict[Which, tuple[set[Pair], set[Pair]]] = {}
        for which, gained, lost in self._changes:
            if which in net:  # it changed before: what comes and goes leaves nothing
                more, less = net[which]
                net[which] = ((more - lost) | (gained - less), (less - gained) | (lost - more))
            else:
                net[which] = (gained, lost)
        there = sorted(net)
        for pair, first, last in _runs([(which, net[which][1]) for which in there if net[which][1]]):
            _drop(connection, pair, first, last)
        rows = [
            (*pair, first - 1 if first % STRETCH else -1, *pair, first, first, last)
            for pair, first, last in _runs([(which, net[which][0]) for which in there])
        ]
        rows.sort()
        connection.executemany(_ADD, rows)


def _runs(documents: Sequence[tuple[Which, set[Pair]]]) -> Iterator[tuple[Pair, int, int]]:
    """The values of documents, in order, as runs. None goes beyond a multiple of :data:`STRETCH`."""
    begun: dict[Pair, int] = {}
    going: set[Pair] = set()
    of, last = "", -1
    for (type, number), pairs in documents:
        follows = number == last + 1 and type == of and number % STRETCH
        for pair in going - pairs if follows else going:
            yield pair, begun[pair], last
        for pair in pairs - going if follows else pairs:
            begun[pair] = number
        going, of, last = pairs, type, number
    for pair in going:
        yield pair, begun[pair], last


def _drop(connection: sqlite3.Connection, pair: Pair, first: int, last: int) -> None:
    """Take these numbers, all of which have it, out of the runs of a value."""
    execute = connection.execute
    if first == last and execute(_DROP_SINGLE, (*pair, first)).rowcount:
        return
    touched = execute(_LATEST, (*pair, first)).fetchall()
    if touched and touched[0][1] < last:
        touched += execute(_WITHIN, (*pair, first, last)).fetchall()
    for begin, end in touched:
        if end < first:
            continue
        if begin < first:
            execute(_SHORTEN, (first - 1, *pair, begin))
        else:
            execute(_DROP, (*pair, begin))
        if end > last:
            execute(_INSERT, (*pair, last + 1, end))


@dataclass(frozen=True, slots=True)
class Statements:
    """What can be asked of the documents that match: for each number of names, each statement is made once."""

    select: str
    """The documents, in the order of creation, at most ``:limit``."""
    bare: str
    """The same: their numbers, ids and types."""
    version: str
    """How many there are, and the latest change among them."""
    runs: str
    """The first and the last number of each run of them, at most ``:limit``."""
    count: str
    """How many there are."""
    count_to: str
    """How many have numbers up to ``:most``."""
    grouped: str
    """How many are in each stretch of ``:stretch`` numbers, in order."""
    estimate: str
    """How many there are in the first ``:limit`` runs."""


def matching(query: Query, order: Sequence[str]) -> tuple[Statements, dict[str, Any]]:
    """The statements for a query and their parameters, but for those that only some of them have. ``order``: its names, the
    most selective first. The runs of that one drive; of each other those that reach into them are looked up, so that nothing is
    scanned."""
    parameters: dict[str, Any] = {"after": query.after, "type": query.type}
    for at, name in enumerate(order):
        parameters[f"name{at}"], parameters[f"value{at}"] = sql.key(query.type, name), indexed(query.equals[name])
    return _statements(len(order)), parameters


@functools.lru_cache(maxsize=64)
def _statements(names: int) -> Statements:
    if names == 0:
        where = f"documents d WHERE {_OF_TYPE} AND {sql.NUMBER} > :after"
        return _made(where, where, sql.NUMBER, sql.NUMBER, sql.NUMBER)
    clauses: list[str] = []
    firsts = [":after + 1"]
    lasts: list[str] = []
    for at in range(names):
        reached, number, last = _most("max", firsts), f"k{at}.number", f"max(k{at}.number, k{at}.last)"
        begin = f"SELECT max(number) FROM keys WHERE name = :name{at} AND value = :value{at} AND number <= {reached}"
        clauses += [f"k{at}.name = :name{at}", f"k{at}.value = :value{at}", f"{number} >= coalesce(({begin}), 0)"]
        clauses += [f"{number} <= {_most('min', lasts)}"] if lasts else []
        clauses += [f"{last} >= {reached}"]
        firsts.append(number)
        lasts.append(last)
    first, last = _most("max", firsts), _most("min", lasts)
    # CROSS keeps this order.
    source, where = " CROSS JOIN ".join(f"keys k{at}" for at in range(names)), " AND ".join(clauses)
    documents = (
        f"{source} CROSS JOIN documents d WHERE {where} AND {_OF_TYPE} AND {sql.NUMBER} BETWEEN {first} AND {last}"
    )
    return _made(f"{source} WHERE {where}", documents, first, last, ", ".join(firsts[1:]))


def _made(runs: str, documents: str, first: str, last: str, order: str) -> Statements:
    """``runs`` and ``documents``: FROM and WHERE of both. What there is from the expression ``first`` to ``last`` matches, and
    comes in the order of ``order``, which is that of the numbers."""
    by_number = order if order == sql.NUMBER else f"{order}, {sql.NUMBER}"
    limited = f"SELECT {first} first, {last} last FROM {runs} LIMIT :limit"
    return Statements(
        select=f"SELECT {sql.COLUMNS} FROM {documents} ORDER BY {by_number} LIMIT :limit",
        bare=f"SELECT {sql.NUMBER}, d.id, d.type FROM {documents} ORDER BY {by_number} LIMIT :limit",
        version=f"SELECT count(*), max(d.seq) FROM {documents}",
        runs=f"SELECT {first}, {last} FROM {runs} ORDER BY {order} LIMIT :limit",
        count=f"SELECT {_sum(first, last)} FROM {runs}",
        count_to=f"SELECT {_sum(first, f'min({last}, :most)')} FROM {runs} AND {first} <= :most",
        grouped=f"SELECT {first} / :stretch, {_sum(first, last)} FROM {runs} GROUP BY 1 ORDER BY 1",
        estimate=f"SELECT {_sum('first', 'last')} FROM ({limited})",
    )


def _sum(first: str, last: str) -> str:
    return f"coalesce(sum({last} - {first} + 1), 0)"


def _most(function: str, expressions: Sequence[str]) -> str:
    """SQLite's min or max of several. Of one it would be that of all rows."""
    return expressions[0] if len(expressions) == 1 else f"{function}({', '.join(expressions)})"
