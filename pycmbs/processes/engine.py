"""The engine process: plain threads, every socket towards other members, the outbox."""

from __future__ import annotations

import signal

from pycmbs import broker
from pycmbs.processes import child
from pycmbs.runtime import new_thread

_PAUSE = 1.0
"""Seconds between looks at a store that does not answer."""


def main(me: child.Child) -> None:
    """Work until SIGTERM."""
    # Blocked in every thread, to be waited for in this one: a handler would interrupt whatever runs.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    engine = broker.build_engine(me.settings)
    new_thread("heartbeat", me.beat_for_ever, vital=True).start()
    waits = not engine.prepare()
    if waits:
        me.announce_ready()  # the fronts answer 503 meanwhile, and that is better than nothing
    while waits and not engine.prepare():
        if signal.sigtimedwait({signal.SIGTERM}, _PAUSE):
            return
    engine.start()
    if not waits:
        me.announce_ready()
    signal.sigwait({signal.SIGTERM})
    engine.close()
    engine.close_store()  # the last of the broker's processes to do so: SQLite puts its log into the file


if __name__ == "__main__":
    child.run(main)
