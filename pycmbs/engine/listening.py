"""Binds the own member's sockets, and retries where that fails."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterable, Sequence

from pycmbs.errors import CmbsError, Conflict, InvalidRequest, SocketUnavailable, Unavailable
from pycmbs.occi import cmbs
from pycmbs.occi.layers import LAYERS
from pycmbs.services.federation.members import MemberService
from pycmbs.services.federation.roster import socket_of
from pycmbs.transport.transports import Transports
from pycmbs.workers import new_thread

log = logging.getLogger(__name__)

_REBIND_SECONDS = 1.0


class Listening:
    """The layers that are bound now. All but :meth:`start` may be called from any thread."""

    def __init__(self, members: MemberService, transports: Transports, *, keyed: bool = False) -> None:
        """``keyed``: whether it listens for members by their keys, where the own member says so."""
        self._keyed = keyed
        self._doors: set[str] = set()
        """Where all layers listen, for members that have its key."""
        self._members = members
        self._transports = transports
        self.bound: dict[str, str] = {}
        """The URL of each layer that listens."""
        self._said: dict[str, str] = {}
        self._binding = threading.RLock()
        self._closing = threading.Event()
        self._own = ""

    def start(self) -> None:
        """Bind what the own member was told to listen on. Sockets that cannot be bound now are tried again every second."""
        with contextlib.suppress(Unavailable):
            self.bind_wanted()
        new_thread("binding", self._keep_bound, vital=True).start()

    def close(self) -> None:
        """Try nothing again any more. What is bound is closed with the transports."""
        self._closing.set()

    def identity(self) -> str:
        """The id of the own member, empty while there is none. Reads no store."""
        return self._own

    def layers_at(self, url: str) -> tuple[str, ...]:
        """The layers that listen at a URL."""
        return tuple(layer for layer, bound in self.bound.items() if url in self._doors or bound == url)

    def describe(self) -> dict[str, dict[str, str]]:
        """What the fronts are told: which layers listen, and where."""
        return {"listening": {layer: self.bound[layer] for layer in LAYERS if layer in self.bound}}

    def start_layers(self, layers: Sequence[str]) -> None:
        """Listen on layers from now on, all or none, also after a restart. Raises Conflict without a member, InvalidRequest
        without a socket for one, SocketUnavailable."""
        own = self._members.local()
        if own is None:
            raise Conflict("this broker has no member of its own yet")
        self._own = own.id
        for layer in layers:
            if not socket_of(own, layer):
                raise InvalidRequest(f"{own.path} has no socket for {layer}", attribute=cmbs.socket_attribute(layer))
        with self._binding:
            before = set(self.bound)
            try:
                for layer in layers:
                    self._bind_at(own.path, layer, socket_of(own, layer))
            except BaseException:
                for layer in self.bound.keys() - before:
                    self._unbind(layer)
                raise
            self._members.want(layers, listen=True)
            self._bind_doors()
            self._record()

    def _bind_at(self, path: str, layer: str, url: str) -> None:
        """Have a layer of the member at a path listen at a URL. Raises SocketUnavailable."""
        if self.bound.get(layer) == url:
            return
        try:
            self._bind(layer, url)
        except SocketUnavailable as exc:
            name = cmbs.socket_attribute(layer)
            exc.hint = exc.hint or f"Stop what listens there, or change {name} with a POST to {path}."
            raise

    def stop_layers(self, layers: Sequence[str]) -> None:
        """Listen on layers no more."""
        with self._binding:
            self._members.want(layers, listen=False)
            for layer in layers:
                self._unbind(layer)
            self._bind_doors()
            self._record()

    def try_sockets(self, urls: Iterable[str]) -> None:
        """Raises SocketUnavailable when one of the sockets could not be bound; leaves nothing bound."""
        with self._binding:
            for url in urls:
                if url not in self.bound.values():
                    self._transports.listen(url)
                    self._transports.unlisten(url)

    def bind_wanted(self) -> None:
        """Bind what the own member was told to listen on; what fails is logged and tried again. Raises Unavailable."""
        with self._binding:
            self._own = self._members.local_id()  # first: an answer must name its sender
            wanted = self._members.wanted()
            for layer in self.bound.keys() - wanted.keys():
                self._unbind(layer)
            for layer, url in wanted.items():
                if self.bound.get(layer) != url:
                    try:
                        self._bind(layer, url)
                    except CmbsError as exc:
                        self._say_once(layer, exc)
            self._bind_doors()
            self._record()

    def _bind_doors(self) -> None:
        """Bind where members with keys are let in; what fails is logged and tried again."""
        wanted = self._members.wanted_keyed() if self._keyed else set()
        for url in self._doors - wanted:
            self._doors.discard(url)
            self._transports.unlisten(url)
        for url in wanted - self._doors:
            try:
                self._transports.listen(url)
                self._doors.add(url)
            except CmbsError as exc:
                self._say_once(url, exc)

    def _keep_bound(self) -> None:
        while not self._closing.wait(_REBIND_SECONDS):
            try:
                self._members.renew(0)  # after the clock was ahead
                doors = self._members.wanted_keyed() if self._keyed else set()
                if self._members.wanted() != self.bound or doors != self._doors:
                    self.bind_wanted()
            except Unavailable as exc:
                log.warning("binding is paused: %s", exc)
            except Exception:
                log.exception("binding failed; it is tried again")

    def _say_once(self, layer: str, error: CmbsError) -> None:
        """Log why a layer cannot listen, unless that is what was said of it last: it is tried every second."""
        if self._said.get(layer) != error.line:
            self._said[layer] = error.line
            log.warning("%s cannot listen: %s", layer, error.line)

    def _bind(self, layer: str, url: str) -> None:
        self._transports.listen(url)
        self._said.pop(layer, None)
        self._unbind(layer)
        self.bound[layer] = url

    def _unbind(self, layer: str) -> None:
        url = self.bound.pop(layer, None)
        if url is not None and url not in self.bound.values():
            self._transports.unlisten(url)

    def _record(self) -> None:
        self._own = self._members.local_id()
        self._members.record_listening([layer for layer in LAYERS if layer in self.bound])
