"""Discovery: from the neighbours' sockets through the whole federation, and joining it without being asked to."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from pycmbs.engine.inquiry import Inquiries
from pycmbs.errors import CmbsError, Conflict
from pycmbs.occi import cmbs
from pycmbs.runtime import drain
from pycmbs.services.members import MemberService, is_local, socket_of
from pycmbs.transport.envelope import HELLO

log = logging.getLogger(__name__)

_PARALLEL = 32
_MOST_SOCKETS = 100_000
_REJOIN_SECONDS = 5.0


class Discovery:
    """Introduces the own member to every L1 socket it hears of, and learns who answers."""

    def __init__(self, members: MemberService, inquiries: Inquiries, *, seconds: float) -> None:
        """``seconds``: how long one neighbour has to answer."""
        self._members = members
        self._inquiries = inquiries
        self._seconds = seconds
        self._pool = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="discovery")
        self._closing = False
        self._hints: queue.Queue[str | None] = queue.Queue(10_000)
        self._joiner = threading.Thread(target=self._join, name="joiner", daemon=True)

    def start(self) -> None:
        """Begin to join: introduce the own member to neighbours that are not known yet, until they answer."""
        self._joiner.start()

    def close(self) -> None:
        """Stop joining; walks under way end with their deadlines."""
        self._closing = True
        with contextlib.suppress(queue.Full):  # then there is enough to wake it
            self._hints.put_nowait(None)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def hint(self, sockets: Iterable[str]) -> None:
        """Somebody may be found at these sockets: look soon. Never blocks."""
        for url in sockets or [""]:
            try:
                self._hints.put_nowait(url)
            except queue.Full:
                return

    def walk(self) -> dict[str, Any]:
        """Visit the neighbours, all known members and everybody they know; then tell all of them of all.

        Returns whom it found and whom it could not reach, each with the reason. Raises Conflict without a local member.
        """
        own = self._members.local()
        if own is None:
            raise Conflict("this broker has no member of its own yet")
        seeds = [*(own.attributes.get(cmbs.NEIGHBORS) or []), *self._members.sockets_l1()]
        found, unreachable = self._visit(seeds, {socket_of(own, "l1")})
        # Those visited early heard only of those known then.
        self._visit(found, {socket_of(own, "l1")}, follow=False)
        others = [member for member in self._members.all() if not is_local(member)]
        return {
            "found": [{"member": found[url], "socket": url} for url in found],
            "unreachable": [{"socket": url, "reason": reason} for url, reason in unreachable.items()],
            "members": [member.path for member in others],
        }

    def _visit(
        self, seeds: Iterable[str], seen: set[str], *, follow: bool = True
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Introduce the own member at every socket, and if ``follow`` at every socket heard of on the way."""
        found: dict[str, str] = {}
        unreachable: dict[str, str] = {}
        running: dict[Future[tuple[str, list[str]]], str] = {}

        def visit(urls: Iterable[str]) -> None:
            for url in urls:
                if isinstance(url, str) and url not in seen and len(seen) < _MOST_SOCKETS:
                    seen.add(url)
                    running[self._pool.submit(self._introduce, url)] = url

        visit(seeds)
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for one in done:
                url = running.pop(one)
                try:
                    found[url], heard = one.result()
                except CmbsError as exc:
                    unreachable[url] = exc.message
                else:
                    visit(heard if follow else ())
        return found, unreachable

    def _introduce(self, url: str) -> tuple[str, list[str]]:
        """One introduction: returns who is there and whom it knows. Raises CmbsError."""
        description = self._members.description()
        body = {"description": description, "sockets_l1": self._members.sockets_l1()}
        answer = self._inquiries.ask(url, HELLO, description["id"] if description else "", body, self._seconds).body
        member, _ = self._members.learn(answer.get("member_description"))
        heard = answer.get("sockets_l1")
        return member.id, heard if isinstance(heard, list) else []

    def _join(self) -> None:
        pending: set[str] = set()
        while True:
            try:
                first = self._hints.get(timeout=_REJOIN_SECONDS)
                hints = drain(self._hints, first, 1000)
            except queue.Empty:
                hints = []
            if self._closing:
                return
            try:
                pending = self._join_once(pending | {url for url in hints if url})
            except Exception:
                log.exception("joining failed; it is tried again")

    def _join_once(self, pending: set[str]) -> set[str]:
        """Visit who is not known yet; returns the sockets worth another try: neighbours that did not answer."""
        own = self._members.local()
        if own is None or "l1" not in (own.attributes.get(cmbs.LISTENING) or []):
            return set()
        neighbors = set(own.attributes.get(cmbs.NEIGHBORS) or [])
        known = set(self._members.sockets_l1())
        wanted = (pending | neighbors) - known
        if wanted:
            found, unreachable = self._visit(wanted, set(known))
            for url, member in found.items():
                log.info("joined: %s is the member %s", url, member)
            return set(unreachable) & neighbors
        return set()
