"""The sockets of the ZeroMQ transport: a :class:`Listener` per address listened on, a :class:`Link` per address sent to.

Both are served by the loop's thread; what other threads may touch says so. Another thread sends by itself when nothing waits
and the socket is free: waking the loop's thread takes longer than that. A lock passes the socket on, as libzmq demands;
and since sending may swallow the edge that says something has arrived, who has sent looks for that, too.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable

import zmq

from pycmbs.errors import QueueFull
from pycmbs.queues import Budget
from pycmbs.seldom import Seldom
from pycmbs.transport.address import Address
from pycmbs.transport.base import Arrival
from pycmbs.transport.zeromq.context import (
    ANSWER_BYTES,
    CONTEXT,
    MOST_ANSWERS,
    Context,
    Limits,
    Lock,
    Socket,
    new_socket,
)
from pycmbs.transport.zeromq.curve import Handshakes, key_of
from pycmbs.transport.zeromq.guests import Guests, Reception
from pycmbs.transport.zeromq.loop import Loop, Port

log = logging.getLogger(__name__)

# As plain numbers: combining pyzmq's enumerations takes as long as some of the calls.
_NOBLOCK, _SNDMORE = int(zmq.NOBLOCK), int(zmq.SNDMORE | zmq.NOBLOCK)
_POLLIN, _POLLOUT = int(zmq.POLLIN), int(zmq.POLLOUT)

BATCH = 500
"""Most datagrams moved in each direction by one port in one turn, so that a busy one does not starve the others."""

BATCH_BYTES = 1024 * 1024
"""No more are received in a turn once they have so many bytes."""

UNBIND_SECONDS = 1.0
"""Longest wait for libzmq to let go of a bound address. It takes about 0.1 ms."""


class _SharedPort(Port):
    """A port whose socket other threads may use for a moment."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._socket: Socket | None = None
        self._fd = -1
        self._using = threading.Lock()

    def _at_once(self, send: Callable[[Socket], object]) -> bool:
        """Have ``send`` use the socket, from any thread; False when that is not possible now."""
        if not self._using.acquire(blocking=False):
            return False
        try:
            socket = self._socket
            if socket is None:
                return False
            send(socket)
            arrived = _arrived(socket)
        except zmq.ZMQError:  # not now
            return False
        finally:
            self._using.release()
        if arrived:
            self._loop.serve(self)
        return True

    def _withdraw(self) -> Socket | None:
        """The socket, withdrawn from all threads; None when it was withdrawn already. On the loop's thread."""
        with self._using:
            socket, self._socket = self._socket, None
        if socket is not None:
            self._loop.unwatch(self, self._fd)
        return socket


class Listener(_SharedPort):
    """A ROUTER, bound to one URL. ``endpoint`` is the URL as libzmq wants it: with an IP address in place of a name."""

    def __init__(self, url: str, endpoint: str, loop: Loop, guests: Guests, lock: Lock | None = None) -> None:
        super().__init__(loop)
        self._lock = lock
        self._reception = Reception(guests, loop)
        self.url = url
        self._endpoint = endpoint
        self._lost = Seldom(log)
        # Answers that wait to go out; appended to by any thread. At the bound the newest is lost, as answers may be.
        self._answers: deque[tuple[bytes, bytes]] = deque()
        self._answer_bytes = Budget(ANSWER_BYTES)

    def open(self, context: Context, limits: Limits) -> None:
        """Bind. Raises :class:`zmq.ZMQError` when that is not possible."""
        socket = new_socket(context, zmq.ROUTER, self._endpoint, limits, self._lock)
        try:
            socket.set(zmq.ROUTER_MANDATORY, 1)  # a full pipe to one peer is an error for it, not a wait for all
            socket.set(zmq.BACKLOG, 1024)
            if self._endpoint.startswith("tcp:"):
                self._reception.open(context, socket)
            socket.bind(self._endpoint)
        except BaseException:
            self._reception.stop(socket)
            socket.close(0)
            raise
        self._socket = socket
        self._fd = int(socket.get(zmq.FD))
        self._loop.watch(self, self._fd)

    def answer(self, identity: bytes, data: bytes) -> None:
        """Answer a peer, or queue that. From any thread."""
        if self._answers or not self._at_once(lambda socket: self._send(socket, identity, data)):
            if len(self._answers) >= MOST_ANSWERS or not self._answer_bytes.take(len(data)):
                self._lost("an answer at %s is lost: too many wait", self.url)
                return
            self._answers.append((identity, data))
            self._loop.serve(self)

    def serve(self, arrivals: list[Arrival]) -> bool:
        """Send answers, receive datagrams."""
        self.due = False
        socket = self._socket
        if socket is None:
            return False
        with self._using:
            return self._serve(socket, arrivals)

    def _serve(self, socket: Socket, arrivals: list[Arrival]) -> bool:
        for _ in range(min(BATCH, len(self._answers))):
            identity, data = self._answers.popleft()
            self._answer_bytes.give(len(data))
            self._send(socket, identity, data)
        size = 0
        try:
            for _ in range(BATCH):
                if self._lock is None:
                    frames, who = socket.recv_multipart(_NOBLOCK), None
                else:
                    frames, who = self._proven(socket, self._lock)
                size += len(frames[-1])
                if len(frames) != 2:
                    log.info("dropped a datagram at %s: %d frames, not 1", self.url, len(frames) - 1)
                elif self._lock is None or who is not None:
                    arrivals.append(Arrival(self.url, frames[1], (self.url, frames[0]), who=who))
                if size >= BATCH_BYTES:
                    break
        except zmq.Again:
            pass
        return bool(self._answers) or _arrived(socket)

    def _proven(self, socket: Socket, lock: Lock) -> tuple[list[bytes], str | None]:
        """The next datagram, and who sent it by what is known now: a connection goes on when its key was withdrawn."""
        frames = socket.recv_multipart(_NOBLOCK, copy=False)
        # Of what was sent within this process there is no key: that is the own one.
        key = lock.ring.public if self._endpoint.startswith("inproc:") else key_of(frames[-1])
        return [one.bytes for one in frames], lock.ring.who(key)

    def _send(self, socket: Socket, identity: bytes, data: bytes) -> None:
        try:
            socket.send(identity, _SNDMORE)
            socket.send(data, _NOBLOCK)
        except zmq.ZMQError as error:  # gone, or does not read: an answer that is lost
            log.debug("an answer from %s is lost: %s", self.url, error)

    def close(self) -> None:
        """Unbind, wait until the address is free, close."""
        socket = self._withdraw()
        if socket is None:
            return
        self._reception.stop(socket)
        try:
            if self._endpoint.startswith("inproc:"):
                socket.unbind(self._endpoint)
            else:
                self._unbind(socket)
        finally:
            socket.close(0)
            if self._endpoint.startswith("inproc:"):
                CONTEXT.ended[self._endpoint] += 1  # after the close: who connects later, connects to a later one

    def _unbind(self, socket: Socket) -> None:
        # unbind() only asks libzmq's I/O thread to; 75 of 200 binds right after it failed. The event says it is done.
        monitor: Socket = socket.get_monitor_socket(zmq.EVENT_CLOSED | zmq.EVENT_CLOSE_FAILED)
        try:
            socket.unbind(socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0"))
            if not monitor.poll(int(UNBIND_SECONDS * 1000)):
                log.warning("%s is unbound, but libzmq did not say so within %.1f s", self.url, UNBIND_SECONDS)
        finally:
            socket.disable_monitor()
            monitor.close(0)


class Link(_SharedPort):
    """A DEALER towards one address, and what waits to be sent there.

    ``offer`` is for any thread, under one lock of the caller's; the rest is the loop's thread's.
    """

    def __init__(
        self, address: Address, limits: Limits, loop: Loop, waiting: Budget, lock: Lock | None = None, *, url: str = ""
    ) -> None:
        """``waiting``: the bytes that may wait in all links. ``url``: what the address is called by who sends there."""
        self.url = url or address.url
        super().__init__(loop)
        self._lock = lock
        self._waiting = waiting
        self.address = address
        self.used = self._heard = time.monotonic()
        self._limits = limits
        self._context: Context | None = None
        self.endpoint = ""
        """What it connects to, with an IP address in place of a name; empty before that is known. The loop's thread only."""
        self.resolve_at = 0.0
        """When its name is to be resolved again, by the forward clock. The loop's thread only."""
        self._born = 0
        self._dropped = False
        self.opening = False
        """Whether it is being opened. The loop's thread only."""
        self._handshakes: Handshakes | None = None  # until the first answer
        self._turned_away = self._ended = False  # libzmq stops trying where it was refused
        self._queue: deque[bytes] = deque()
        # Each counter has one writer, so that the bytes that wait are known without a lock between the threads.
        self._bytes_in = 0
        self._bytes_out = 0

    @property
    def _peer(self) -> tuple[str, str, bytes]:
        return "dealer", self.url, self._lock.key if self._lock is not None else b""

    @property
    def idle(self) -> float:
        """Seconds since anything was sent or received."""
        return time.monotonic() - self.used

    @property
    def silent(self) -> float:
        """Seconds since anything was received, or since it was made."""
        return time.monotonic() - self._heard

    def offer(self, data: bytes) -> bool:
        """Send a datagram, or queue it; tells whether it is sent. Raises :class:`~pycmbs.errors.QueueFull`."""
        # Within a process the loop's thread sends: it also looks whether the listener is still the same.
        if not self._queue and not self._inside and self._at_once(lambda socket: socket.send(data, _NOBLOCK)):
            self.used = time.monotonic()
            return True
        waiting = len(self._queue)
        size = self._bytes_in - self._bytes_out
        if waiting >= self._limits.queue_messages or (waiting and size + len(data) > self._limits.queue_bytes):
            raise QueueFull(f"{waiting} datagrams of {size} bytes wait for {self.url} already", url=self.url)
        if not self._waiting.take(len(data)):
            raise QueueFull(f"too much waits for other addresses than {self.url}", url=self.url)
        self._bytes_in += len(data)
        self._queue.append(data)
        self.used = time.monotonic()
        self._loop.serve(self)
        return False

    def drop(self) -> None:
        """Forget what waits and never send again. From any thread; :meth:`close` must follow on the loop's."""
        self._dropped = True
        with contextlib.suppress(IndexError):
            while True:
                self._waiting.give(len(self._queue.popleft()))

    @property
    def unopened(self) -> bool:
        """Whether there is no socket and none is being made."""
        return self._socket is None and not self.opening and not self._dropped

    def look_again(self) -> None:
        """Have it served, if anything waits, whatever it believes to know. From any thread."""
        if self._queue:
            self.due = False
            self._loop.serve(self)

    def open(self, context: Context, endpoint: str) -> None:
        """Connect; libzmq keeps trying. Does nothing when the link was dropped meanwhile."""
        if self._dropped:
            return
        self._context, self.endpoint = context, endpoint
        self._born = CONTEXT.ended[endpoint]
        socket = new_socket(context, zmq.DEALER, endpoint, self._limits, self._lock)
        try:
            # Nothing goes into a connection that is not there: it waits here, where it is counted and can be dropped.
            socket.set(zmq.IMMEDIATE, 1)
            socket.set(zmq.RECONNECT_IVL, 100)
            socket.set(zmq.RECONNECT_IVL_MAX, 2000)
            socket.set(zmq.CONNECT_TIMEOUT, 5000)
            if self._lock is not None and not self._inside:
                self._handshakes = Handshakes(socket)
            socket.connect(endpoint)
        except BaseException:
            self._look_no_more()
            socket.close(0)
            raise
        self._socket = socket
        self._fd = int(socket.get(zmq.FD))
        self._loop.watch(self, self._fd)

    def serve(self, arrivals: list[Arrival]) -> bool:
        """Send what waits, receive answers."""
        self.due = False
        if self._stale:
            self._reconnect()  # libzmq does it for tcp and ipc only
        socket, events = self._socket, 0
        if socket is not None:
            with self._using:
                self._flush(socket)
                self._drain(socket, arrivals)
                events = int(socket.get(zmq.EVENTS))
        if self._queue and not events & _POLLOUT:
            self.due = True  # the descriptor, or open(), will tell; no sender need
        return bool(events & _POLLIN) or bool(self._queue and events & _POLLOUT)

    @property
    def _inside(self) -> bool:
        """Whether it leads nowhere but within this process."""
        return self.address.scheme == "inproc"

    @property
    def _stale(self) -> bool:
        """Whether the listener that it was connected to within this process has ended."""
        return self._inside and self._born != CONTEXT.ended[self.endpoint]

    @property
    def turned_away(self) -> bool:
        """Whether the other side did not let this one in when it last tried, not knowing its key."""
        with self._using:
            if self._handshakes is not None and (failed := self._handshakes.failed()) is not None:
                self._turned_away = self._ended = failed
            return self._turned_away

    def knock_again(self) -> None:
        """Connect again where this one was turned away: it may be known there by now. On the loop's thread."""
        if self.turned_away and self._ended:
            self._ended = False
            self._reconnect()

    def _look_no_more(self) -> None:
        handshakes, self._handshakes = self._handshakes, None
        if handshakes is not None:
            handshakes.close()

    def close(self) -> None:
        """Disconnect; what libzmq has not sent is lost."""
        socket = self._withdraw()
        if socket is not None:
            with self._using:
                self._look_no_more()
            socket.close(0)

    def _reconnect(self) -> None:
        self.close()
        if self._context is not None:
            self.open(self._context, self.endpoint)

    def _flush(self, socket: Socket) -> None:
        try:
            for _ in range(min(BATCH, len(self._queue))):
                data = self._queue[0]
                socket.send(data, _NOBLOCK)
                self._queue.popleft()
                self._bytes_out += len(data)
                self._waiting.give(len(data))
        except (zmq.Again, IndexError):  # not now; or drop() came between
            pass

    def _drain(self, socket: Socket, arrivals: list[Arrival]) -> None:
        size = 0
        try:
            for _ in range(BATCH):
                frames = socket.recv_multipart(_NOBLOCK)
                size += len(frames[-1])
                who = self._lock.ring.who(self._lock.key) if self._lock is not None else None
                if len(frames) == 1 and not self._dropped and (self._lock is None or who is not None):
                    arrivals.append(Arrival(self.url, frames[0], self._peer, answer=True, who=who))
                    self.used = self._heard = time.monotonic()
                    self._turned_away = False
                    self._look_no_more()
                if size >= BATCH_BYTES:
                    break
        except zmq.Again:
            pass


def _arrived(socket: Socket) -> bool:
    return bool(int(socket.get(zmq.EVENTS)) & _POLLIN)
