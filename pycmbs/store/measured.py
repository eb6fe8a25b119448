"""Store wrapper that counts and times commits."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pycmbs.errors import RevisionConflict, Unavailable
from pycmbs.metrics.table import STORE_BATCH, STORE_CONFLICTS, STORE_FAILURES, STORE_SECONDS
from pycmbs.store.base import Batch, Document, Wrapper


class Measured(Wrapper):
    """Another store: how long commits to it take, how many documents are written with one, and how many writes are refused."""

    def write_batches(self, batches: Sequence[Batch]) -> list[list[Document] | RevisionConflict]:
        """See :class:`~pycmbs.store.base.Store`."""
        begun = time.monotonic()
        try:
            results = self._store.write_batches(batches)
        except Unavailable:
            STORE_FAILURES.count()
            raise
        STORE_SECONDS.observe(time.monotonic() - begun)
        STORE_BATCH.observe(sum(map(len, batches)))
        if conflicts := list(map(type, results)).count(RevisionConflict):
            STORE_CONFLICTS.count(by=conflicts)
        return results
