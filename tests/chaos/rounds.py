"""One round: a federation, its clients, a script of troubles, healing, and whether all is as it was promised."""

from __future__ import annotations

import contextlib
import random
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pycmbs.runtime import ThreadRuntime
from pycmbs.store import find_store, open_store
from pycmbs.store.base import Query
from tests.chaos.audit import Audit, kept
from tests.chaos.disk import can_mount
from tests.chaos.federation import Federation, Site, federation
from tests.chaos.traffic import Client
from tests.chaos.troubles import Trouble, Troubles, script
from tests.couchdb_server import CouchServer, running_server
from tests.harness import Broker, wait_until

BROKERS = 3
SECONDS = 4.0
"""For which clients send and troubles begin."""
NUMBER = 6
"""Troubles in that time."""
SETTLED = 90.0
"""Seconds until everything must be settled once nothing fails any more; a busy machine needs some of them."""

_END_ENGINES = ("kill-engine", "kill-supervisor", "kill-all", "restart")
"""Troubles after which another engine takes up the outbox."""
_SHOWN = 25
"""Disagreements of a round that are printed."""


@dataclass(frozen=True)
class Plan:
    """What a round is to be. ``only``: beginnings of the kinds of troubles; all without. ``keys``: members have keys."""

    seed: int
    store: str = "sqlite"
    seconds: float = SECONDS
    troubles: int = NUMBER
    only: tuple[str, ...] = ()
    keys: bool = False

    def script(self) -> list[Trouble]:
        """Its troubles; those that cannot be had here are left out."""
        made = script(random.Random(self.seed), BROKERS, self.seconds, self.troubles)
        return [one for one in made if one.kind.startswith(self.only or "") and _can_be_had(one.kind, self.store)]


@dataclass
class Report:
    """What came of a round. It failed if there is a ``disagreement``."""

    plan: Plan
    disagreements: list[str] = field(default_factory=list)
    accepted: int = 0
    states: Counter[str] = field(default_factory=Counter)
    took: float = 0.0

    def __str__(self) -> str:
        states = ", ".join(f"{number} {state}" for state, number in sorted(self.states.items()))
        outcome = f"{len(self.disagreements)} DISAGREEMENTS" if self.disagreements else "agrees"
        troubles = Counter(one.kind for one in self.plan.script())
        told = ", ".join(f"{kind} x{number}" if number > 1 else kind for kind, number in sorted(troubles.items()))
        line = f"seed {self.plan.seed} {self.plan.store}: {outcome}; {self.accepted} accepted; {states}; "
        line += f"{self.took:.0f} s ({told})"
        if not self.disagreements:
            return line
        shown = self.disagreements
        if len(shown) > _SHOWN:
            shown = [*shown[: _SHOWN - 1], f"and {len(shown) - _SHOWN} more", shown[-1]]
        script = [f"    {one}" for one in self.plan.script()]
        return "\n".join([line, *script, *(f"  - {one}" for one in shown)])


def left_out(store: str) -> list[str]:
    """Which troubles cannot be had here, and why."""
    found = []
    if not can_mount():
        found.append("disk (nobody but root may mount a small disk)")
    if store == "couchdb":
        found.append("disk (the store is not in the homes)")
    return found


def _can_be_had(kind: str, store: str) -> bool:
    if kind == "disk":
        return store == "sqlite" and can_mount()
    return not kind.startswith("store-") or store == "couchdb"


def run(plan: Plan, folder: Path) -> Report:
    """The round, with everything it makes in ``folder``."""
    begun = time.monotonic()
    report = Report(plan)
    troubles = plan.script()
    with (
        _server(plan, folder) as server,
        federation(folder, BROKERS, server, {one.kind for one in troubles}, keys=plan.keys) as made,
    ):
        clients = [Client(site, made.sites, plan.seed) for site in made.sites]
        try:
            _flow(plan, made, clients, troubles, report)
            _settle(made, clients, report)
        except AssertionError as exc:
            report.disagreements.append(f"{exc}"[:4000])
        report.disagreements += [
            f"site {site.index} ended with exit code {code}" for site in made.sites if (code := site.stop())
        ]
        messages = [message for client in clients for message in client.messages]
        shuffled = {(one.other, one.where) for one in troubles if one.kind == "link-reorder"}
        replaced = {one.where for one in troubles if one.kind in _END_ENGINES}
        audit = Audit(messages, [kept(site) for site in made.sites], shuffled, replaced)
        report.disagreements += audit.disagreements()
    report.states = audit.states
    report.accepted = sum(one.certain for message in messages for one in message.sendings)
    report.took = time.monotonic() - begun
    return report


def run_alone(plan: Plan) -> Report:
    """The round in a folder of its own, with its homes and logs, which stays if the round failed: the report says where."""
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{plan.seed}-"))  # short: sockets have paths in it
    try:
        report = run(plan, folder)
    except Exception:  # noqa: BLE001 - the other rounds go on
        report = Report(plan, [traceback.format_exc()])
    if report.disagreements:
        report.disagreements.append(f"logs and homes are in {folder}")
    else:
        shutil.rmtree(folder)
    return report


@contextlib.contextmanager
def _server(plan: Plan, folder: Path) -> Iterator[CouchServer | None]:
    if plan.store != "couchdb":
        yield None
        return
    (folder / "couchdb").mkdir()
    with running_server(folder / "couchdb") as server:
        yield server


def _flow(plan: Plan, made: Federation, clients: list[Client], troubles: list[Trouble], report: Report) -> None:
    with contextlib.ExitStack() as stack:
        for client in clients:
            stack.enter_context(client)
        under_way = Troubles(made, troubles)
        begun = time.monotonic()
        under_way.join()
        time.sleep(
            max(0.0, begun + plan.seconds - time.monotonic())
        )  # the length of the round, not a wait for anything
    report.disagreements += under_way.failed


def _settle(made: Federation, clients: list[Client], report: Report) -> None:
    """Everything works again: what was accepted must come to its end, and what is sent now must arrive."""
    made.heal()
    wait_until(made.acquainted, SETTLED, "all know all again")
    for site in made.sites:
        wait_until(lambda s=site: not _sending(s.broker), SETTLED, f"all is settled at site {site.index}")
    for client in clients:
        if (state := client.last()) != "delivered":
            report.disagreements.append(f"after it all a message to everybody is {state}")
    for site in made.sites:
        wait_until(lambda s=site: not _unsettled(s), SETTLED, f"nothing half-done is left at site {site.index}")


def _unsettled(site: Site) -> list[str]:
    """Rows that are left where all messages are settled: those of a send that broke off, in a store that is not atomic."""
    if find_store(site.store)[0].atomic:
        return []
    store = open_store(site.store, home=site.broker.home, runtime=ThreadRuntime())
    try:
        return [one.id for one in store.find(Query("delivery", {"unsettled": "1"}))]
    finally:
        store.close()


def _sending(broker: Broker) -> list[str]:
    answer = broker.request("GET", "/cmbs/message/?attribute=cmbs.message.state&value=sending")
    return list(answer.json()["X-OCCI-Location"]) if answer.status_code == 200 else [answer.text]
