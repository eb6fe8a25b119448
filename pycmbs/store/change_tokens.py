"""Store wrapper that asks for a change token once in a turn of the event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from pycmbs.errors import RevisionConflict
from pycmbs.runtime import Runtime, wrote
from pycmbs.store.base import Batch, Document, Query, Store, Wrapper

T = TypeVar("T")


class _Turn(threading.local):
    """What was answered to a thread, and in which turn; one attribute, since that of a thread costs ten times another's."""

    latest: tuple[int | None, dict[str | int, tuple[object, str]]] = (None, {})


class ChangeTokens(Wrapper):
    """A store that asks another one for a change token or a version once in a turn, however many requests need it. Every
    other call goes through.

    No caller gets an older answer than by asking: the requests of a turn were all there before it began, and what the thread
    itself writes makes it ask again.
    """

    def __init__(self, store: Store, runtime: Runtime) -> None:
        super().__init__(store)
        self._runtime = runtime
        self._thread = _Turn()

    def change_token(self, type: str) -> str:
        """See :class:`~pycmbs.store.base.Store`."""
        return self._once(type, self._store.change_token, type)

    def version(self, query: Query) -> str:
        """See :class:`~pycmbs.store.base.Store`. The same question is the same object here: whoever asks often has it at
        hand."""
        return self._once(id(query), self._store.version, query)

    def _once(self, key: str | int, ask: Callable[[T], str], question: T) -> str:
        turn = self._runtime.turn()
        if turn is None:
            return ask(question)
        of, answers = self._thread.latest
        if turn != of:
            answers = {}
            self._thread.latest = turn, answers
        found = answers.get(key)
        if found is None:  # while this waits there may be other turns: their answers go elsewhere
            found = answers[key] = (question, ask(question))  # which is kept, so that no other gets its id
        return found[1]

    def write_batches(self, batches: Sequence[Batch]) -> list[list[Document] | RevisionConflict]:
        """See :class:`~pycmbs.store.base.Store`."""
        try:
            return self._store.write_batches(batches)
        finally:
            self._thread.latest = None, {}
            wrote()
