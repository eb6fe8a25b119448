"""The engine process: plain threads, every socket towards other members, the outbox."""

from __future__ import annotations

import contextlib
import os
import signal

from pycmbs import broker
from pycmbs.engine.engine import Engine
from pycmbs.errors import ConfigurationError, Unavailable
from pycmbs.processes import child
from pycmbs.processes.identity import forget
from pycmbs.services.records.node import NodeService
from pycmbs.workers import KEEPER, new_thread

_PAUSE = 1.0
"""Seconds between looks at a store that does not answer."""


def main(me: child.Child) -> None:
    """Work until SIGTERM, or until the store is another broker's. Raises ConfigurationError for the latter."""
    # Blocked in every thread, to be waited for in this one: a handler would interrupt whatever runs.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    engine, store, node = broker.build_engine(me.settings)
    new_thread("heartbeat", me.beat_for_ever, vital=True).start()
    waits = not _taken(engine, node)
    if waits:
        me.announce_ready()  # until then the fronts answer 503, which is better than nothing
    while waits and not _taken(engine, node):
        if signal.sigtimedwait({signal.SIGTERM}, _PAUSE):
            return
    lost: list[ConfigurationError] = []

    def end(error: ConfigurationError) -> None:
        lost.append(error)
        os.kill(os.getpid(), signal.SIGTERM)

    keeper = new_thread("node", lambda: node.keep(end), vital=True)
    keeper.start()
    engine.start()
    if not waits:
        me.announce_ready()
    signal.sigwait({signal.SIGTERM})
    KEEPER.ending = lambda: None  # it ends anyway, and in order
    engine.close()
    node.stop()
    keeper.join(_PAUSE)
    if not lost:
        node.release()
    store.close()  # the last of the broker's processes to do so: SQLite puts its log into the file
    if lost:
        forget(me.settings)
        raise lost[0]


def _taken(engine: Engine, node: NodeService) -> bool:
    """Whether the store answers, and is this broker's. Raises ConfigurationError if it is another's."""
    if engine.prepare():
        with contextlib.suppress(Unavailable):
            node.take()
            return True
    return False


if __name__ == "__main__":
    child.run(main)
