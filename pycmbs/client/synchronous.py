"""``Client``: for programs that wait."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pycmbs.client import verbs
from pycmbs.client.calls import Call, T, Verb, is_there, pause, read
from pycmbs.client.connection import options, request_of, unreachable
from pycmbs.client.events import Change, Stream
from pycmbs.client.places import Place, find
from pycmbs.client.views import Member, Message, Outcome, Plan, Sent
from pycmbs.errors import CmbsError

if TYPE_CHECKING:
    import httpx2


class Client:
    """A broker, over HTTP. To be used by one thread at a time, and closed; ``with`` does that."""

    def __init__(
        self,
        url: str | None = None,
        *,
        context: str | None = None,
        home: str | Path | None = None,
        place: Place | None = None,
        timeout: float = 30,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """Which broker: see :func:`~pycmbs.client.places.find`; or exactly this ``place``. ``timeout``: seconds that an answer
        may take, besides those one waits for deliveries. Connects when there is something to ask."""
        import httpx2  # commands that only print or complete need not load the HTTP library

        self.place = place or find(url, context=context, home=home)
        self._timeout = timeout
        self._http = httpx2.Client(**options(self.place), transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def run(self, verb: Verb[T]) -> T:
        """Do what a verb of :mod:`pycmbs.client.verbs` says."""
        try:
            calls = next(verb)
            while True:
                try:
                    answers = [self.call(one) for one in calls]
                except CmbsError as error:
                    calls = verb.throw(error)
                else:
                    calls = verb.send(answers)
        except StopIteration as done:
            result: T = done.value
            return result

    def call(self, call: Call) -> Any:
        """The JSON of an answer. Raises the error that it is; Unavailable if there is none."""
        import httpx2

        tries = 0
        while True:
            tries += 1
            headers: Mapping[str, str] = {}
            try:
                try:
                    answer = self._http.request(**request_of(call, self._timeout))
                except httpx2.HTTPError as exc:
                    raise unreachable(self.place, exc) from exc
                headers = answer.headers
                return read(answer.status_code, answer.content)
            except CmbsError as error:
                if is_there(call, error, tries):
                    return None
                seconds = pause(call, error, tries, headers)
                if seconds is None:
                    raise
            time.sleep(seconds)

    def watch(
        self,
        path: str = "/",
        *,
        since: str | None = None,
        filters: Mapping[str, str] | None = None,
        patience: float | None = None,
    ) -> Iterator[Change]:
        """What changes in a collection, or of an entity, from now on or ``since`` a cursor ("0": all that is there, too). It
        connects again by itself, and skips nothing. ``filters``: attributes and their values; ``patience``: seconds without the
        broker until that is raised; None: for ever, once it was there. Raises the broker's error, and Unavailable."""
        import httpx2

        stream = Stream(path, since, filters or {}, patience)
        while True:
            error: CmbsError | None = None
            try:
                with self._http.stream(**stream.request(self._timeout)) as answer:
                    if answer.status_code >= 400:
                        read(answer.status_code, answer.read())
                    stream.connected()
                    for line in answer.iter_lines():
                        if (change := stream.line(line)) is not None:
                            yield change
            except httpx2.HTTPError as exc:
                error = unreachable(self.place, exc)
            except CmbsError as exc:
                error = exc
            time.sleep(stream.pause(error))

    # What it can do

    def publish(
        self,
        topic: str,
        content: Any = None,
        *,
        to: Sequence[str] = (),
        wait: float = 0,
        deadline: float | None = None,
    ) -> Sent:
        """Send to all members that are interested in a topic (L3.2), or to those of ``to`` that are (L4)."""
        return self.run(verbs.send(content, topics=[topic], to=to, wait=wait, deadline=deadline))

    def send(self, to: Sequence[str], content: Any = None, *, wait: float = 0, deadline: float | None = None) -> Sent:
        """Send to members by name (L3.1)."""
        return self.run(verbs.send(content, to=to, wait=wait, deadline=deadline))

    def send_all(self, content: Any = None, *, wait: float = 0, deadline: float | None = None) -> Sent:
        """Send to all members (L2)."""
        return self.run(verbs.send(content, wait=wait, deadline=deadline))

    def dry_run(self, *, topics: Sequence[str] = (), to: Sequence[str] = ()) -> Plan:
        """Who would get a message like this, and why."""
        return self.run(verbs.dry_run(topics=topics, to=to))

    def request(
        self,
        member: str,
        operation: str,
        target: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        *,
        wait: float = 30,
    ) -> Outcome:
        """Have a member perform an operation. Raises NotSettled, Failed, or the error that the member answered."""
        return self.run(verbs.request(member, operation, target, attributes, wait))

    def handlers(self, member: str | None = None, *, wait: float = 10) -> Mapping[str, Any]:
        """What this broker may call at a member, or what the broker itself has: about each handler, by name."""
        return self.run(verbs.handlers(member, wait))

    def resend(self, id: str, *, wait: float = 0) -> Sent:
        """Send a message again."""
        return self.run(verbs.resend(id, wait=wait))

    def remove(self, id: str) -> None:
        """Delete a message."""
        self.run(verbs.remove(id))

    def members(self) -> list[Member]:
        """The members that the broker knows, its own first."""
        return self.run(verbs.members())

    def member(self, name: str) -> Member:
        """One of them. Raises UnknownEntity."""
        return self.run(verbs.member(name))

    def message(self, id: str) -> Message:
        """A message with its ledger. Raises UnknownEntity."""
        return self.run(verbs.message(id))

    def messages(
        self,
        *,
        state: str | None = None,
        origin: str | None = None,
        number: int = 20,
        page: int = 1,
        newest: bool = False,
    ) -> list[Message]:
        """One page of the messages, in order of creation or the ``newest`` first."""
        return self.run(verbs.messages(state=state, origin=origin, number=number, page=page, newest=newest))

    def join(
        self, name: str, sockets: Mapping[str, str], *, topics: Sequence[str] = (), neighbors: Sequence[str] = ()
    ) -> Member:
        """Make the broker's own member, listening on the layers of these ``sockets``."""
        return self.run(verbs.join(name, sockets, topics=topics, neighbors=neighbors))

    def subscribe(self, *topics: str) -> list[str]:
        """Add to the topics that the broker's own member is interested in; all of them are returned."""
        return self.run(verbs.subscribe(topics))

    def ping(self, member: str, *, wait: float = 2) -> tuple[Sent, float]:
        """Send a member a message that is kept nowhere: the report, and how many milliseconds it took."""
        return self.run(verbs.ping(member, wait=wait))
