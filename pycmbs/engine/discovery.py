"""Discovery: joins the federation through neighbours, and leaves it."""

from __future__ import annotations

import contextlib
import logging
import queue
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, NamedTuple

from msgspec.structs import replace

from pycmbs.engine.probes import Probes
from pycmbs.engine.requests import Requests
from pycmbs.errors import ClaimedId, CmbsError, Conflict, Departed, Unavailable
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Entity
from pycmbs.occi.layers import INTRODUCTORY
from pycmbs.runtime import drain
from pycmbs.services.federation.gossip import FederationService
from pycmbs.services.federation.members import MemberService
from pycmbs.services.federation.roster import socket_of
from pycmbs.transport.envelope import HELLO, LEAVE, Envelope
from pycmbs.workers import Pool, new_thread

log = logging.getLogger(__name__)

_PARALLEL = 32
_MOST_SOCKETS = 100_000
_REJOIN_SECONDS = 5.0
_LOOK_HOSTS_SECONDS = 0.5
"""Between looks whether an invitation was taken."""
_LOOK_SECONDS = 0.05
_STOPS = "the engine stops"
_LOOK_STOPS_SECONDS = 0.5
_EVERYBODY = "*"
"""The hint that stands for all known members."""


class _Met(NamedTuple):
    """An answer to an introduction, and where it came from."""

    member: str
    answer: Mapping[str, Any]


class Discovery:
    """Introduces the own member to every L1 socket it hears of, and learns who answers."""

    def __init__(
        self,
        members: MemberService,
        federation: FederationService,
        probes: Probes,
        requests: Requests,
        *,
        invited_by: Callable[[], Iterable[str]],
        seconds: float,
        follow: bool = True,
    ) -> None:
        """``follow``: whether who joins visits those whom others know; where members have keys these hear of it first.
        ``invited_by``: the sockets of members that the own one was invited by, which are neighbours too. ``seconds``: how
        long one neighbour has to answer."""
        self._follow = follow
        self._invited_by = invited_by
        self._members = members
        self._federation = federation
        self._probes = probes
        self._requests = requests
        self._seconds = seconds
        self._pool = Pool("discovery", _PARALLEL)
        self._closing = False
        self._hints: queue.Queue[tuple[str, bool] | None] = queue.Queue(10_000)
        self._joiner = new_thread("joiner", self._join, vital=True)

    def start(self) -> None:
        """Begin to join: introduce the own member to neighbours that are not known yet, until they answer."""
        self._joiner.start()

    def close(self) -> None:
        """Stop joining; walks under way end with their deadlines."""
        self._closing = True
        with contextlib.suppress(queue.Full):  # then there is enough to wake it
            self._hints.put_nowait(None)
        self._pool.close()

    def introduced(self, hello: Envelope) -> None:
        """A member introduced itself: look after it, and after those that it knows of. Raises CmbsError."""
        if self._federation.is_newcomer(hello.sender):
            self.announce()  # the others let it in only once they know it
        self.hint(self._federation.sockets(hello.body))
        self._probes.told(self._federation.hear(hello.body, hello.sender), hello.sender)
        self._probes.look(hello.sender)
        if self._federation.lacks(hello.body):
            member = self._members.by_id(hello.sender)
            if member is not None and socket_of(member, INTRODUCTORY):
                self.greet(socket_of(member, INTRODUCTORY))

    def hint(self, sockets: Iterable[str]) -> None:
        """Members may be found at these sockets: look soon where none is known yet. Never blocks."""
        for url in sockets or [""]:
            self._put(url, again=False)

    def greet(self, url: str) -> None:
        """Introduce the own member at a socket, soon, also to one that knows it: there is news. Never blocks."""
        self._put(url, again=True)

    def announce(self) -> None:
        """The same, to all known members."""
        self._put(_EVERYBODY, again=True)

    def _put(self, url: str, *, again: bool) -> None:
        with contextlib.suppress(queue.Full):  # then there is enough to do, and probes tell who lacks what
            self._hints.put_nowait((url, again))

    def walk(self) -> dict[str, Any]:
        """Visit the neighbours, all known members and everybody they know; then tell all of them of all.

        Returns whom it found, whom only others reach, and who is unreachable, each with the reason. Raises Conflict without a
        local member.
        """
        own = self._members.local()
        if own is None:
            raise Conflict("this broker has no member of its own yet")
        seeds = [*self._neighbors(own), *self._members.now().sockets_l1]
        found, unreachable = self._visit(seeds, {socket_of(own, INTRODUCTORY)})
        # Those visited early heard only of those known then; in a complete federation none lacks any.
        behind = [url for url, met in found.items() if self._federation.can_tell(met.answer)]
        self._visit(behind, {socket_of(own, INTRODUCTORY)}, follow=False)
        others = self._members.now().others
        relayed = self._relayed(
            {socket_of(one, INTRODUCTORY): one.id for one in others if socket_of(one, INTRODUCTORY) in unreachable}
        )
        return {
            "found": [{"member": met.member, "socket": url} for url, met in found.items()],
            "relayed": [{"member": id, "socket": url, "via": via} for url, (id, via) in relayed.items()],
            "unreachable": [
                {"socket": url, "reason": reason} for url, reason in unreachable.items() if url not in relayed
            ],
            "members": [member.path for member in others],
        }

    def _neighbors(self, own: Entity) -> list[str]:
        return [*(own.attributes.get(cmbs.NEIGHBORS) or []), *self._invited_by()]

    def _relayed(self, silent: Mapping[str, str]) -> dict[str, tuple[str, str]]:
        """Of the members that do not answer at these sockets, those that others reach, and who does. Probes find out, by and
        by: this waits for them as long as for a neighbour."""
        for member in silent.values():
            self._probes.look(member)
        deadline = time.monotonic() + 2 * self._seconds if silent else 0.0
        while True:
            found = {url: (id, via) for url, id in silent.items() if (via := self._probes.via(id))}
            if len(found) == len(silent) or time.monotonic() >= deadline:
                return found
            time.sleep(_LOOK_SECONDS)

    def _visit(
        self, seeds: Iterable[str], seen: set[str], *, follow: bool = True
    ) -> tuple[dict[str, _Met], dict[str, str]]:
        """Introduce the own member at every socket, and if ``follow`` at every socket heard of on the way. Returns who was met
        where, and why none was. Raises Unavailable when the engine stops meanwhile."""
        found: dict[str, _Met] = {}
        unreachable: dict[str, str] = {}
        running: dict[Future[_Met], str] = {}

        def visit(urls: Iterable[str]) -> None:
            for url in urls:
                if url not in seen and len(seen) < _MOST_SOCKETS:
                    seen.add(url)
                    running[self._submit(url)] = url

        visit(seeds)
        while running:
            # What is cancelled when the pool is closed never counts as done.
            done, _ = wait(running, _LOOK_STOPS_SECONDS, return_when=FIRST_COMPLETED)
            if self._closing:
                raise Unavailable(_STOPS)
            for one in done:
                url = running.pop(one)
                try:
                    found[url] = one.result()
                except CmbsError as exc:
                    unreachable[url] = exc.message
                else:
                    visit(self._federation.sockets(found[url].answer) if follow else ())
        return found, unreachable

    def _submit(self, url: str) -> Future[_Met]:
        try:
            return self._pool.submit(self._introduce, url)
        except RuntimeError as exc:  # its word for a pool that is closed
            if not self._closing:
                raise
            raise Unavailable(_STOPS) from exc

    def _introduce(self, url: str) -> _Met:
        """One introduction: returns who is there and what it said. Raises CmbsError."""
        try:
            answer = self._greet(url)
        except Departed as exc:
            if not self._federation.outlive(exc):
                raise
            answer = self._greet(url)  # it remembers a later life of the own member: the one of now is newer than that
        member, new = self._federation.learn(answer.body, by=answer.sender)
        told = self._federation.hear(answer.body, answer.sender)
        self._probes.told_of_own(member.id, answer.body)
        if new or told:
            self._probes.told(told, member.id)
        return _Met(member.id, answer.body)

    def _greet(self, url: str) -> Envelope:
        own = self._members.local()
        hello = Envelope(HELLO, "", own.id if own is not None else "", self._federation.greeting())
        try:
            return self._requests.ask(url, hello, self._seconds)
        except ClaimedId as exc:
            self._federation.lives.refused(hello.sender, exc)
            raise

    def leave(self, member: str, version: int, instance: str) -> dict[str, Any]:
        """Tell all known members that the own one was deleted. Returns how many took note."""
        farewell = Envelope(LEAVE, "", member, self._federation.farewell(member, version, instance))

        def tell(other: str) -> bool:
            way = self._probes.way(other, INTRODUCTORY)
            if way is None:
                return False
            with contextlib.suppress(CmbsError):
                self._requests.ask(way.url, replace(farewell, to=other), self._seconds, via=way.via)
                return True
            return False

        others = [one.id for one in self._members.now().others]
        return {"told": sum(self._pool.map(tell, others)), "of": len(others)}

    def _join(self) -> None:
        pending: set[str] = set()
        hosts: list[str] = []
        due = 0.0
        while True:
            try:
                first = self._hints.get(timeout=_LOOK_HOSTS_SECONDS)
                hints = [one for one in drain(self._hints, first, 1000) if one is not None]
            except queue.Empty:
                hints = []
            if self._closing:
                return
            before, hosts = hosts, list(self._invited_by())
            if not hints and hosts == before and time.monotonic() < due:
                continue
            due = time.monotonic() + _REJOIN_SECONDS
            new, again = ({url for url, known in hints if url and known is flag} for flag in (False, True))
            try:
                pending = self._join_once(pending | new, again)
            except Unavailable as exc:
                if not self._closing:
                    log.warning("joining is paused: %s", exc)
            except Exception:
                log.exception("joining failed; it is tried again")

    def _join_once(self, pending: set[str], again: set[str]) -> set[str]:
        """Visit who is not known yet, and those in ``again``; returns the sockets worth another try: neighbours that did not
        answer."""
        own = self._members.local()
        if own is None or INTRODUCTORY not in (own.attributes.get(cmbs.LISTENING) or []):
            return set()
        neighbors = set(self._neighbors(own))
        known = set(self._members.now().sockets_l1)
        if _EVERYBODY in again:
            again = again | known
        wanted = ((pending | neighbors) - known) | again - {_EVERYBODY, socket_of(own, INTRODUCTORY)}
        if wanted:
            found, unreachable = self._visit(wanted, known - wanted, follow=self._follow)
            for url, met in found.items():
                if url not in known:
                    log.info("joined: %s is the member %s", url, met.member)
            for url in wanted & unreachable.keys():
                log.info("no member answers at %s: %s", url, unreachable[url])
            self._probes.reload()
            return set(unreachable) & neighbors
        return set()
