"""The client's operations, defined once for the sync and async clients."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from pycmbs.client import views
from pycmbs.client.calls import MOST_WAIT, Call, Verb, path_of
from pycmbs.client.views import Member, Message, Outcome, Plan, Sent
from pycmbs.errors import CmbsError, InvalidRequest, NoLocalMember, NotFound, RevisionConflict, Unavailable, from_dict

LAYERS = ("l1", "l2", "l31", "l32", "l4")
MEMBERS = "/cmbs/member/"
MESSAGES = "/cmbs/message/"
_SCHEME = "http://houssem.org/cmbs#"
_ALTOGETHER = ("action", "kind", "id", "mixins", "title", "summary", "links")
"""What of an operation is not an attribute (doc/execution.md)."""
_TRIES = 5
LISTING = "handlers"
"""The operation that tells which handlers there are."""


class NotSettled(CmbsError):
    """What was asked for is accepted, and not done within the time one would wait; ``sent`` says how far it is."""

    def __init__(self, message: str, sent: Sent) -> None:
        super().__init__(message, hint=f"pycmbs show {sent.id} tells how far it is.", message_id=sent.id)
        self.sent = sent

    def to_dict(self) -> dict[str, Any]:
        """See :meth:`~pycmbs.errors.CmbsError.to_dict`. The code is the client's own: no broker says it."""
        return {**super().to_dict(), "code": "not-settled"}


class Failed(CmbsError):
    """What was asked for will not be done; ``sent`` says why, at each recipient."""

    def __init__(self, message: str, sent: Sent) -> None:
        super().__init__(message, message_id=sent.id)
        self.sent = sent

    def to_dict(self) -> dict[str, Any]:
        """See :meth:`~pycmbs.errors.CmbsError.to_dict`. The code is the client's own: no broker says it."""
        return {**super().to_dict(), "code": "failed"}


def new_id() -> str:
    """An id for a message, ordered by time (RFC 9562, version 7)."""
    stamp = time.time_ns() // 1_000_000
    number = (stamp << 80 | uuid.uuid4().int & (1 << 80) - 1) & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62
    return str(uuid.UUID(int=number))


# Sending


def layer_of(topics: Sequence[str], to: Sequence[str]) -> str:
    """The layer that a message with these topics and recipients is for."""
    if topics:
        return "l4" if to else "l32"
    return "l31" if to else "l2"


def send(
    content: Any = None,
    *,
    topics: Sequence[str] = (),
    to: Sequence[str] = (),
    socket: str = "",
    wait: float = 0,
    deadline: float | None = None,
    **attributes: Any,
) -> Verb[Sent]:
    """Make a message and send it: to members interested in a topic, to members by name, to those of them that are interested,
    to the member behind an L1 ``socket``, or, with none of these, to all. ``wait``: seconds for all to have it; ``deadline``:
    seconds after which it is given up."""
    layer, id = "l1" if socket else layer_of(topics, to), new_id()
    if socket:
        attributes["l1_socket_receiver_member"] = socket
    entity = _message(layer, id, content, topics, to, deadline, attributes)
    path = MESSAGES + id
    seconds = min(wait, MOST_WAIT)
    (report,) = yield (_posting(entity, layer, {"wait": f"{seconds:g}"} if wait else {}, seconds),)
    found = views.sent(id, layer, _attributes(report))
    if report is None:  # an earlier try did it, and its answer was lost
        found = views.sent_before((yield from message(id)))
    return (yield from _waited(found, path, wait - MOST_WAIT)) if wait > MOST_WAIT else found


def dry_run(*, topics: Sequence[str] = (), to: Sequence[str] = ()) -> Verb[Plan]:
    """Who would get a message like this, and why. Nothing is stored."""
    layer = layer_of(topics, to)
    entity = _message(layer, new_id(), None, topics, to, None, {})
    (report,) = yield (_posting(entity, layer, {"dry_run": "true"}),)
    return views.plan(layer, _attributes(report))


def handlers(member: str | None = None, wait: float = 10) -> Verb[Mapping[str, Any]]:
    """What can be called at a member, by this one, or at the broker itself: about each handler, by name. Raises what
    :func:`request` does."""
    if member is not None:
        done = yield from request(member, LISTING, wait=wait)
        return dict(done.result)
    id = new_id()
    path, content = MESSAGES + id, {"operation": LISTING}
    yield (Call("POST", MESSAGES, {"resources": [_message("l2", id, content, (), (), None, {})]}, repeatable=True),)
    try:
        (report,) = yield (Call("POST", f"{path}?action=execute", {}, wait),)
    finally:
        yield (Call("DELETE", path),)
    return dict(_attributes(report).get("result") or {})


def resend(id: str, *, wait: float = 0) -> Verb[Sent]:
    """Send a message again, on the layer that it is for."""
    path = path_of(MESSAGES, id)
    found = yield from message(id)
    if not found.layer:
        raise InvalidRequest(f"{path} does not say its layer", attribute="cmbs.message.cmbs_layer")
    (report,) = yield (_sending(path, found.layer, wait),)
    return views.sent(found.id, found.layer, _attributes(report))


def request(
    member: str,
    operation: str,
    target: str | None = None,
    attributes: Mapping[str, Any] | None = None,
    wait: float = 30,
) -> Verb[Outcome]:
    """Have a member perform an operation, and wait for the outcome. Of ``attributes``, ``action``, ``kind``, ``id``, ``title``
    and the like belong to the operation itself. Raises NotSettled, Failed, or the error that the member answered."""
    content = operation_content(operation, target, attributes)
    # Without a deadline it could still be done later, when no one wants it any more.
    sent = yield from send(content, to=[member], wait=wait, deadline=wait + 1)
    return outcome(member, sent)


def operation_content(
    operation: str, target: str | None = None, attributes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a message holds that has an operation performed."""
    given = dict(attributes or {})
    content: dict[str, Any] = {"operation": operation}
    if target is not None:
        content["target"] = target
    content |= {name: given.pop(name) for name in _ALTOGETHER if name in given}
    if given:
        content["attributes"] = given
    return content


def outcome(member: str, sent: Sent) -> Outcome:
    """What one member made of what it was sent. Raises NotSettled, Failed, or the error that it answered."""
    (row,) = sent.ledger or [views.row({})]
    if row.error is not None:
        raise from_dict(row.error)
    if row.state == "executed":
        return Outcome(row.member, row.result, sent)
    if row.state == "delivered" and sent.settled:
        raise Failed(f"{member} has the request, but may not execute it: its setting allow says what it executes", sent)
    if not sent.settled:
        raise NotSettled(f"{member} has not answered in time{_because(row.reason)}", sent)
    raise Failed(f"{member} did not do it: {row.state}{_because(row.reason or sent.reason)}", sent)


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _waited(found: Sent, path: str, seconds: float) -> Verb[Sent]:
    """How far a message is after more time than one request may wait."""
    end = time.monotonic() + seconds
    while not found.settled and (left := end - time.monotonic()) > 0:
        # One that is being sent is not sent twice: this waits for it.
        (report,) = yield (_sending(path, found.layer, left),)
        found = views.sent(found.id, found.layer, _attributes(report))
    return found


def _posting(entity: Mapping[str, Any], layer: str, options: Mapping[str, str], seconds: float = 0) -> Call:
    """A message is made and sent, both or neither."""
    query = urlencode({"then": f"send_{layer}", **options})
    return Call("POST", f"{MESSAGES}?{query}", {"resources": [entity]}, seconds, repeatable=True)


def _sending(path: str, layer: str, wait: float) -> Call:
    seconds = min(wait, MOST_WAIT)
    return Call("POST", f"{path}?action=send_{layer}", {"attributes": {"wait": seconds} if wait else {}}, seconds)


def _message(
    layer: str,
    id: str,
    content: Any,
    topics: Sequence[str],
    to: Sequence[str],
    deadline: float | None,
    attributes: Mapping[str, Any],
) -> dict[str, Any]:
    said = {"message_content": content, "cmbs_layer": layer, **attributes}
    if topics:
        said["topics"] = list(topics)
    if to:
        said["providers"] = list(to)
    if deadline is not None:
        said["deadline"] = deadline
    return {
        "kind": _SCHEME + "message",
        "mixins": [_SCHEME + layer],
        "id": id,
        "attributes": {views.MESSAGE + name: value for name, value in said.items()},
    }


def _attributes(report: Any) -> Mapping[str, Any]:
    """What an action answered, which OCCI 1.2 has as its attributes."""
    found: Mapping[str, Any] = (report or {}).get("attributes", {})
    return found


# Reading


def members() -> Verb[list[Member]]:
    """The members that the broker knows, its own first."""
    (answer,) = yield (Call("GET", MEMBERS, repeatable=True),)
    found = [views.member(one) for one in (answer or {}).get("resources", ())]
    return sorted(found, key=lambda one: (not one.own, one.id))


def member(name: str) -> Verb[Member]:
    """One of them. Raises UnknownEntity."""
    (answer,) = yield (Call("GET", path_of(MEMBERS, name), repeatable=True),)
    return views.member(answer)


def own() -> Verb[Member]:
    """The broker's own member. Raises NoLocalMember."""
    found = yield from members()
    for one in found:
        if one.own:
            return one
    raise NoLocalMember("this broker has no member", hint="pycmbs serve --member NAME makes one.")


def message(id: str) -> Verb[Message]:
    """A message with its ledger. Raises UnknownEntity."""
    (answer,) = yield (Call("GET", path_of(MESSAGES, id), repeatable=True),)
    return views.message(answer)


def cursor(path: str, since: str | None = None, wait: float = 0) -> Verb[str]:
    """Where to go on from to be told of all that changes after this, in a collection or of an entity: at once, or when
    something changed ``since`` a cursor, waited for so many seconds at most. Raises NotFound."""
    more = {"since": since, "wait": f"{wait:.3f}"} if since is not None else {}
    query = urlencode({"watch": "", **more})
    (answer,) = yield (Call("GET", f"{path}?{query}", seconds=wait, repeatable=True),)
    return str(answer["cursor"])


def messages(
    *,
    state: str | None = None,
    origin: str | None = None,
    number: int = 20,
    page: int = 1,
    newest: bool = False,
    **attributes: str,
) -> Verb[list[Message]]:
    """One page of the messages, in order of creation or the ``newest`` first, of those with this state, origin and other
    attributes."""
    said = {"state": state, "origin": origin, **attributes}
    filters = [
        pair
        for name, value in said.items()
        if value
        for pair in (("attribute", views.MESSAGE + name), ("value", value))
    ]
    order = [("order", "desc")] if newest else []
    query = urlencode([*filters, *order, ("page", str(page)), ("number", str(number))])
    (answer,) = yield (Call("GET", f"{MESSAGES}?{query}", repeatable=True),)
    return [views.message(one) for one in (answer or {}).get("resources", ())]


def readiness() -> Verb[list[str]]:
    """Why the broker does not take messages in just now; nothing if it does."""
    try:
        yield (Call("GET", "/readyz"),)
    except Unavailable as error:
        if "reasons" not in error.data:
            raise
        return [str(one.get("message", one)) for one in error.data["reasons"]]
    return []


# Changing


def remove(id: str) -> Verb[None]:
    """Delete a message; what is not delivered yet will not be. Raises UnknownEntity."""
    yield (Call("DELETE", path_of(MESSAGES, id)),)


def join(
    name: str, sockets: Mapping[str, str], *, topics: Sequence[str] = (), neighbors: Sequence[str] = ()
) -> Verb[Member]:
    """Make the broker's own member, listening on the layers of these ``sockets``; with ``neighbors`` (L1 sockets of others) it
    looks for the whole federation. Raises SecondLocalMember, SocketUnavailable."""
    said: dict[str, Any] = {f"{layer}_socket": url for layer, url in sockets.items()}
    said |= {"topics": list(topics), "neighbors_socket": list(neighbors)}
    attributes = {views.MEMBER + attribute: value for attribute, value in said.items()}
    entity = {"kind": _SCHEME + "member", "id": name, "attributes": attributes}
    path = path_of(MEMBERS, name)
    acts = [*(["start"] if sockets else []), *(["check_neighbors"] if neighbors else [])]
    yield (
        Call("POST", MEMBERS, {"resources": [entity]}, repeatable=True),
        *(Call("POST", f"{path}?action={one}", {}, MOST_WAIT, repeatable=True) for one in acts),
    )
    return (yield from member(name))


def subscribe(topics: Sequence[str]) -> Verb[list[str]]:
    """Add to the topics that the broker's own member is interested in, for as long as it is there; all of them are returned."""
    for _ in range(_TRIES):
        mine = yield from own()
        wanted = [*mine.topics, *(one for one in topics if one not in mine.topics)]
        if wanted == list(mine.topics):
            return wanted
        change = {"attributes": {"cmbs.member.topics": wanted}}
        yield (Call("POST", path_of(MEMBERS, mine.id), change, repeatable=True),)
        # Someone else may have written in between: what is there now counts.
        mine = yield from own()
        if set(topics) <= set(mine.topics):
            return list(mine.topics)
    raise RevisionConflict("too many concurrent changes to the topics of this member", hint="Try again.")


def ping(name: str, *, wait: float = 2) -> Verb[tuple[Sent, float]]:
    """Send a member an empty message that is kept nowhere, and wait until it has it: the path that messages take. Returns the
    report and how many milliseconds it took. Raises NotFound for a name that is not a member's."""
    began = time.monotonic()
    sent = yield from send(None, to=[name], wait=wait, deadline=wait, storable="false", executable="false")
    taken = (time.monotonic() - began) * 1000
    yield (Call("DELETE", MESSAGES + sent.id),)
    if sent.ledger and "no member of that name" in sent.ledger[0].reason:
        raise NotFound(f"there is no member {name}", member=name)
    return sent, taken
