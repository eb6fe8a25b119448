"""On the path of a broker's processes: the thread, real or green, that a file names ends by an error when it begins, once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pycmbs import workers

_NAMED = Path(os.environ["TEST_BREAKS"])
_guarded = workers.Keeper.guarded


def _breaking(
    keeper: workers.Keeper, name: str, work: Callable[[], object], *, vital: bool = False
) -> Callable[[], None]:
    def broken() -> None:
        if _NAMED.exists() and _NAMED.read_text() == name:
            _NAMED.unlink()
            raise ValueError("it broke")
        work()

    return _guarded(keeper, name, broken, vital=vital)


workers.Keeper.guarded = _breaking  # type: ignore[method-assign]
workers.guarded = workers.KEEPER.guarded
