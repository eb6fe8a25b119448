"""What befalls a federation in a round: a script, made from a seed, of troubles that begin and end."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos.federation import Federation, Site
from tests.chaos.proxy import BACK, THERE, Faults
from tests.harness import LAYERS

LINKS = {
    "refuse": Faults(refuse=True),
    "drop": Faults(drop=0.3),
    "delay": Faults(delay=0.8),
    "duplicate": Faults(duplicate=0.5),
    "reorder": Faults(reorder=0.4),
    "cut": Faults(cut=0.1),
    "reset": Faults(),
    "one-way": Faults(held=(BACK,)),
    "other-way": Faults(held=(THERE,)),
    "silent": Faults(held=(THERE, BACK)),
    "slow": Faults(rate=50_000),
}
_PROCESSES = ("front", "engine", "supervisor", "all")
STEPS = (3.0, -3.0, 90.0, -90.0, 3600.0, -3600.0, 3 * 86400.0, -3 * 86400.0)
"""Seconds by which a clock is set wrong."""

KINDS: dict[str, float] = {
    **{f"kill-{what}": 1.0 for what in _PROCESSES},
    **{f"freeze-{what}": 0.6 for what in _PROCESSES},
    **{f"link-{how}": 0.6 for how in LINKS},
    "restart": 0.6,
    "layer": 1.0,
    "clock": 1.0,
    "disk": 0.6,
    "store-kill": 1.0,
    "store-freeze": 1.0,
}
"""The kinds, and how often each comes."""


@dataclass(frozen=True)
class Trouble:
    """One of them: it begins at so many seconds, at a broker, and lasts. ``other``: the broker at a link's beginning."""

    kind: str
    begins: float
    lasts: float
    where: int
    other: int
    value: str = ""

    def __str__(self) -> str:
        link = f"{self.other} -> " if self.kind.startswith("link-") else ""
        return f"{self.begins:5.2f} s  {self.kind} {link}{self.where} for {self.lasts:.2f} s {self.value}".rstrip()


def script(chance: random.Random, brokers: int, seconds: float, number: int) -> list[Trouble]:
    """Troubles in the order in which they begin. What cannot be had here is to be taken out of it: so a seed means the same
    everywhere."""
    made = []
    for _ in range(number):
        (kind,) = chance.choices(list(KINDS), list(KINDS.values()))
        where, other = chance.sample(range(brokers), 2)
        lasts = 0.1 + chance.random() * 2.4
        value = chance.choice(LAYERS) if kind == "layer" else str(chance.choice(STEPS)) if kind == "clock" else ""
        made.append(Trouble(kind, chance.random() * seconds, lasts, where, other, value))
    return sorted(made, key=lambda one: one.begins)


class Troubles:
    """A script as it is carried out, each trouble on a thread of its own."""

    def __init__(self, federation: Federation, troubles: Sequence[Trouble]) -> None:
        self._federation = federation
        self._begun = time.monotonic()
        self.failed: list[str] = []
        """What could not be carried out, which is the net's own fault or a broker's that does not start."""
        self._threads = [threading.Thread(target=self._run, args=(one,)) for one in troubles]
        for one in self._threads:
            one.start()

    def join(self) -> None:
        """Wait until all are over."""
        for one in self._threads:
            one.join()

    def _run(self, trouble: Trouble) -> None:
        time.sleep(max(0.0, self._begun + trouble.begins - time.monotonic()))  # its moment, not a wait for anything
        try:
            self._begin(trouble)
            time.sleep(trouble.lasts)  # likewise
            self._end(trouble)
        except Exception as exc:  # noqa: BLE001 - goes into the report
            self.failed.append(f"{trouble}: {type(exc).__name__}: {exc}")

    def _begin(self, trouble: Trouble) -> None:
        site = self._federation.sites[trouble.where]
        match trouble.kind.split("-", 1):
            case ["kill", what]:
                site.signal(what, signal.SIGKILL)
            case ["freeze", what]:
                site.signal(what, signal.SIGSTOP)
            case ["restart"]:
                site.stop()
            case ["link", how]:
                broken = how in ("refuse", "reset")
                self._federation.link(trouble.other, trouble.where, LINKS[how], reset=broken)
            case ["store", how]:
                self._hurt_store(how)
            case ["layer"]:
                site.layer(trouble.value, listens=False)
            case ["clock"] if site.clock is not None:
                site.clock.step(float(trouble.value))
            case ["disk"] if site.disk is not None:
                site.disk.fill()

    def _end(self, trouble: Trouble) -> None:
        site: Site = self._federation.sites[trouble.where]
        match trouble.kind.split("-", 1):
            case ["kill", _] | ["restart"]:
                site.up()
            case ["freeze", _]:
                site.thaw()
            case ["link", _]:
                self._federation.link(trouble.other, trouble.where, Faults())
            case ["store", how]:
                self._mend_store(how)
            case ["layer"]:
                site.layer(trouble.value, listens=True)
            case ["clock"] if site.clock is not None:
                site.clock.step(0)
            case ["disk"] if site.disk is not None:
                site.disk.free()

    def _hurt_store(self, how: str) -> None:
        server = self._federation.server
        if server is None:
            return
        with self._federation.store_lock:
            if server.process is not None:
                server.kill() if how == "kill" else server.pause(paused=True)

    def _mend_store(self, how: str) -> None:
        server = self._federation.server
        if server is None:
            return
        with self._federation.store_lock:
            if how == "kill" and server.process is None:
                server.start()
            elif how == "freeze" and server.process is not None:
                server.pause(paused=False)
