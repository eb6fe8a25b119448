"""The brokers of a round: each with processes, sockets, links, a clock and a disk of its own, all of which can fail."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import requests

from tests.chaos.clock import Clock
from tests.chaos.disk import Disk, mounted
from tests.chaos.proxy import Faults, Proxy
from tests.couchdb_server import CouchServer
from tests.harness import LAYERS, Broker, free_port, free_socket, wait_until
from tests.keyed import command

FLAGS = ("--workers", "1", "--retry-first", "0.05", "--retry-most", "0.3", "--poll", "0.2", "--probe-interval", "0.5",
         "--neighbor-timeout", "0.5", "--handlers", "chaos_effects",
         "--allow", "* effect; * create machine")  # fmt: skip
MACHINES = "/machine/"
TOPICS = (["a.*"], ["a.b", "c.>"], ["*.b"])
"""What the members subscribe to."""
START_SECONDS = 60.0
"""For a broker to start: meanwhile its home may be full, or held by its frozen processes, and its store away."""

_KIND = {"term": "machine", "scheme": "http://example.org/chaos#", "title": "what messages make", "location": MACHINES,
         "attributes": {"machine": {"of": {"type": "String"}}}}  # fmt: skip
_EFFECTS = '''
from pycmbs.handlers import handler


@handler("effect", deadline=60)
def effect(call):
    """Leaves a line for every time it is called."""
    with open({file!r}, "a") as file:
        file.write(call.target + chr(10))
    return call.target
'''


class Site:
    """One broker, and what its machine is."""

    def __init__(
        self, index: int, folder: Path, store: str, disk: Disk | None, *, clock: bool, keys: bool = False
    ) -> None:
        self.index = index
        self.disk = disk
        self.lock = threading.RLock()
        """Held by whoever starts or kills it."""
        modules = folder / f"modules-{index}"
        modules.mkdir()
        self._effects = folder / f"effects-{index}.txt"
        (modules / "chaos_effects.py").write_text(_EFFECTS.format(file=str(self._effects)), encoding="utf-8")
        self.clock = Clock(modules) if clock else None
        self._bound = {layer: free_socket() for layer in LAYERS}
        self.proxies = {layer: Proxy(url) for layer, url in self._bound.items()}
        listen_at = ";".join(f"{self.proxies[layer].url}={url}" for layer, url in self._bound.items())
        closed = ("--members", "closed") if keys else ()
        flags = [*FLAGS, *closed, "--listen-at", listen_at, *(("--store", store) if store else ())]
        inherited = os.environ.get("PYTHONPATH")
        environ = {"PYTHONPATH": os.pathsep.join([str(modules), *([inherited] if inherited else [])])}
        self.broker = Broker(folder / f"site-{index}", *flags, port=free_port(), environ=environ)
        self.store = store or f"sqlite:{self.broker.home}/pycmbs.db"
        self.url = f"http://127.0.0.1:{self.broker.port}"
        self.sessions: set[int] = set()
        """Of its processes, in all its lives."""

    def up(self) -> None:
        """Start it if it does not run."""
        deadline = time.monotonic() + START_SECONDS
        with self.lock:
            while not self.running:
                try:
                    self.broker.start()
                except AssertionError:  # it said why, and ended
                    self._ended()
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)  # the pause of a poll with a deadline
            assert self.broker.process is not None
            self.sessions.add(self.broker.process.pid)

    @property
    def running(self) -> bool:
        """Whether its supervisor lives."""
        return self.broker.process is not None and self.broker.process.poll() is None

    def signal(self, what: str, which: signal.Signals) -> None:
        """To its ``front``, ``engine`` or ``supervisor``, or to ``all``, if it lives."""
        with self.lock, contextlib.suppress(ProcessLookupError):
            process = self.broker.process
            if process is None or process.poll() is not None:
                return
            if what == "all":
                os.killpg(process.pid, which)
            elif what == "supervisor":
                process.send_signal(which)
            else:
                for pid in self._children(what):
                    os.kill(pid, which)
            if which == signal.SIGKILL and what in ("all", "supervisor"):
                self._ended()

    def stop(self) -> int:
        """Have it end cleanly; its exit code, 0 also when it does not run."""
        with self.lock:
            return self.broker.stop() if self.running else 0

    def thaw(self) -> None:
        """Have what was stopped go on, also what outlived its supervisor and keeps it from starting: so without the lock."""
        for session in list(self.sessions):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(session, signal.SIGCONT)

    def close(self) -> None:
        """Kill what is left of it."""
        for session in self.sessions:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(session, signal.SIGKILL)
        if self.broker.process is not None:
            self._ended()
        for proxy in self.proxies.values():
            proxy.close()

    def _ended(self) -> None:
        process = self.broker.process
        assert process is not None
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()
        self.broker.session.close()

    def _children(self, role: str) -> list[int]:
        with contextlib.suppress(OSError, ValueError, LookupError):  # it is being started
            return [one["pid"] for one in self.broker.state()["children"] if one["role"] == role]
        return []

    def effects(self) -> list[str]:
        """What its handlers were called for, in their order."""
        return self._effects.read_text().split() if self._effects.exists() else []

    def ask(self, method: str, path: str, body: Any = None, seconds: float = 8) -> requests.Response | None:
        """The answer to a request; None when there was none, and it is not known what it did."""
        headers = {"Accept": "application/occi+json", "Content-Type": "application/occi+json"}
        with contextlib.suppress(requests.RequestException):
            return requests.request(method, self.url + path, json=body, headers=headers, timeout=seconds)
        return None

    def layer(self, layer: str, *, listens: bool) -> bool:
        """Start or stop a layer; whether it did."""
        verb = "start" if listens else "stop"
        answer = self.ask("POST", f"/cmbs/member/{self.broker.member}?action={verb}_{layer}", {})
        return answer is not None and answer.status_code == 200


class Federation:
    """Brokers that know each other."""

    def __init__(self, sites: list[Site], server: CouchServer | None, *, keys: bool = False) -> None:
        """``server``: the one of their stores, if it may be hurt. ``keys``: the first invites the others."""
        self._keys = keys
        self.sites = sites
        self.server = server
        self.store_lock = threading.Lock()
        """Held by whoever kills, stops or starts the server."""
        self._links: dict[tuple[int, int], Faults] = {}
        for site in sites:
            for proxy in site.proxies.values():
                proxy.faults = self._judge(site.index)

    def _judge(self, to: int) -> Callable[[int], Faults]:
        return lambda session: self._links.get((self._index(session), to), Faults())

    def _index(self, session: int) -> int:
        return next((site.index for site in self.sites if session in site.sessions), -1)

    def link(self, origin: int, to: int, faults: Faults, *, reset: bool = False) -> None:
        """What happens from now on to connections that one broker made to another. ``reset``: those there are break."""
        self._links[origin, to] = faults
        if reset:
            for session in list(self.sites[origin].sessions):
                for proxy in self.sites[to].proxies.values():
                    proxy.reset(session)

    def found(self) -> None:
        """Make the members, have all listen, and wait until all know all. Raises AssertionError."""
        threads = [threading.Thread(target=site.up) for site in self.sites]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        for site in self.sites:
            site.broker.ok("POST", "/-/", {"kinds": [_KIND]})
            neighbors = [self.sites[0].proxies["l1"].url] if site.index else []
            sockets = {layer: proxy.url for layer, proxy in site.proxies.items()}
            site.broker.become(*LAYERS, neighbors=neighbors, topics=TOPICS[site.index], sockets=sockets)
        if self._keys:
            host, *guests = self.sites
            line = command(host.broker.home, "invite", "--uses", str(len(guests)), "--store", host.store).strip()
            for one in guests:
                command(one.broker.home, "join", line, "--members", "closed", "--store", one.store)
        wait_until(self.acquainted, 30, "all know all")

    def acquainted(self) -> bool:
        """Whether every broker knows every member."""
        members = {site.broker.member for site in self.sites}
        return all(members <= site.broker.known() for site in self.sites)

    def heal(self) -> None:
        """Everything works again, and everybody is there. Raises AssertionError for a broker that does not start."""
        self._links.clear()
        if self.server is not None:
            if self.server.process is None:
                self.server.start()
            self.server.pause(paused=False)
        for site in self.sites:
            if site.disk is not None:
                site.disk.free()
            if site.clock is not None:
                site.clock.step(0)
            site.thaw()
            site.up()
        for site in self.sites:
            for layer in LAYERS:
                wait_until(
                    lambda s=site, one=layer: s.layer(one, listens=True), 30, f"site {site.index} starts {layer}"
                )


@contextlib.contextmanager
def federation(
    folder: Path, count: int, server: CouchServer | None, needs: Collection[str], *, keys: bool = False
) -> Iterator[Federation]:
    """Brokers in ``folder``. ``server``: where their stores are, embedded ones without. ``needs``: ``clock``, ``disk``.
    ``keys``: they ask each other for them."""
    with contextlib.ExitStack() as stack:
        sites = []
        for index in range(count):
            store = stack.enter_context(server.database()) if server is not None else ""
            disk = stack.enter_context(mounted(folder / f"site-{index}")) if "disk" in needs else None
            site = Site(index, folder, store, disk, clock="clock" in needs, keys=keys)
            stack.callback(site.close)
            sites.append(site)
        made = Federation(sites, server if server is not None and server.is_stand_in else None, keys=keys)
        made.found()
        yield made
