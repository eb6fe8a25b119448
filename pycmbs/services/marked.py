"""A store that can write a mark together with an effect, so that after a kill it is known whether the effect is there."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

from pycmbs.errors import RevisionConflict
from pycmbs.store.base import Batch, Document, Store, Wrapper, Write

Outcome = list[list[Document] | RevisionConflict]


class EffectDone(Exception):
    """The effect that was to be written with a mark is there already."""


class MarkedStore(Wrapper):
    """Another store, whose writes go straight through; those made within :meth:`marking` carry a mark."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._local = threading.local()

    @contextlib.contextmanager
    def marking(self, mark: Callable[[list[str]], Write]) -> Iterator[None]:
        """Within this, and on this thread, the first batch that is written carries what ``mark`` makes of the ids in it: both
        are written, or neither is (in a store that is not atomic, the mark is the last). Raises EffectDone when the mark was
        written by somebody before."""
        self._local.mark = mark
        try:
            yield
        finally:
            self._local.mark = None

    def write_batches(self, batches: Sequence[Batch]) -> Outcome:
        """See :class:`~pycmbs.store.base.Store`."""
        mark = getattr(self._local, "mark", None)
        if mark is None or not batches or not batches[-1]:
            return self._store.write_batches(batches)
        write = mark([one.id for one in batches[-1]])
        outcome = self._store.write_batches([*batches[:-1], [*batches[-1], write]])
        last = outcome[-1]
        if isinstance(last, RevisionConflict):
            if last.data.get("id") == write.id:
                raise EffectDone(write.id)
            return outcome
        self._local.mark = None
        return [*outcome[:-1], last[:-1]]
