"""Every error the broker raises on purpose: one tree, stable codes.

::

    CmbsError                     anything the broker refuses or cannot do
    ├── InvalidRequest            the request itself is wrong
    │   ├── MalformedBody         the body is not what its media type promises
    │   ├── InvalidAttribute      one attribute is unknown, mistyped, missing or out of range
    │   ├── InvalidCategory       a category definition contradicts itself or the standard
    │   └── InvalidAddress        a socket URL that is not one
    ├── NotFound                  what the request names is not there
    │   ├── UnknownEntity         no entity at this path
    │   ├── UnknownCategory       no kind, mixin or action with this identifier
    │   └── UnknownLocation       nothing is bound to this path
    ├── Forbidden                 understood, and not allowed
    │   ├── ImmutableAttribute    a client may not change this attribute
    │   ├── CrossOrigin           a page of another origin asks for a change
    │   └── ForgedSender          someone speaks for a member that it is not
    ├── Conflict                  contradicts what is already there
    │   ├── DuplicateId           an entity with this id exists
    │   ├── RevisionConflict      someone else changed the document first
    │   ├── CategoryConflict      a definition contradicts the registered one, or is still in use
    │   ├── SecondLocalMember     a broker is one member
    │   ├── ClaimedId             two members claim one id
    │   ├── Departed              the member left, and what is said of it is older than that
    │   ├── NoLocalMember         sending needs a local member, and there is none
    │   ├── NotSendable           the message may not be sent as it is
    │   ├── BeingSent             the message is on its way, and what was accepted is what arrives
    │   ├── Overdue               the deadline of the message has passed
    │   ├── NotExecutable         the message may not be executed
    │   └── SocketUnavailable     a socket that cannot be bound
    │       └── Unprotected       a socket that others could reach, while members are not asked for their keys
    ├── PreconditionFailed        what the request says it knows of the entity is not so any more
    ├── Unauthenticated           the broker wants to know who asks
    ├── TooManyAttempts           wrong passwords came too fast
    ├── UnknownHost               the request is for a host that is not this one
    ├── UnsupportedVersion        a version of OCCI that is newer than this broker
    ├── UnsupportedProtocol       a version of HTTP that the broker does not speak
    ├── NotImplementedHere        a method or a coding of HTTP that the broker does not have
    ├── ExpectationFailed         the request expects what the broker cannot do
    ├── RequestTimeout            the request takes too long to arrive
    ├── MethodNotAllowed          the path is there, the method is not
    ├── NotAcceptable             no rendering the client accepts
    ├── UnsupportedMediaType      no rendering can read this body
    ├── TooLarge                  over a size that is bounded
    │   ├── UriTooLong            the URL is too long
    │   └── HeadersTooLarge       the headers are too large, or too many
    ├── Unavailable               not now; later the same request may pass
    │   ├── StoreUnavailable      the store does not answer
    │   ├── EngineUnavailable     the engine process does not answer
    │   └── QueueFull             a bounded queue is at its bound
    ├── RemoteError               another member answered with an error
    │   ├── BadEnvelope           bytes from the wire that are no envelope of ours
    │   ├── HandlerFailed         a handler raised, crashed, or took too long
    │   ├── NoRoute               a member that was asked to pass something on cannot reach whom it is for
    │   └── UnknownKey            a member whose key is not known here, so that nothing can be sent to it
    └── ConfigurationError        a setting, a file or a name at start is wrong

The codes are part of the interface, the sentences are not. Which HTTP status a class gets is decided in
:mod:`pycmbs.wsgi.errors`, nowhere else.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pycmbs.sentences import cut, cut_values


class CmbsError(Exception):
    """Anything the broker refuses or cannot do.

    ``message`` is one sentence for a person in a hurry; ``hint`` says what to do about it; ``data`` names the
    offender (``attribute``, ``location``, ``kind`` …) for a program.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, /, *, hint: str = "", **data: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.data = data

    @property
    def line(self) -> str:
        """Its code and its sentence, as the ledger gives them for a reason."""
        return f"{self.code}: {self.message}"

    def to_dict(self) -> dict[str, Any]:
        """The error as plain data, to be rendered or to cross the federation."""
        document: dict[str, Any] = {"code": self.code, "message": self.message, **self.data}
        if self.hint:
            document["hint"] = self.hint
        return document

    def told(self) -> dict[str, Any]:
        """The error as another member is told: without the hint, which may name what there is, to clients that may read it."""
        return {name: value for name, value in self.to_dict().items() if name != "hint"}


class InvalidRequest(CmbsError):
    """The request itself is wrong."""

    code = "invalid-request"


class MalformedBody(InvalidRequest):
    """The body is not what its media type promises."""

    code = "malformed-body"


class InvalidAttribute(InvalidRequest):
    """One attribute is unknown, mistyped, missing or out of range."""

    code = "invalid-attribute"


class InvalidCategory(InvalidRequest):
    """A category definition contradicts itself or the standard."""

    code = "invalid-category"


class InvalidAddress(InvalidRequest):
    """A socket URL that is not one."""

    code = "invalid-address"


class NotFound(CmbsError):
    """What the request names is not there."""

    code = "not-found"


class UnknownEntity(NotFound):
    """No entity at this path."""

    code = "unknown-entity"


class UnknownCategory(NotFound):
    """No kind, mixin or action with this identifier."""

    code = "unknown-category"


class UnknownLocation(NotFound):
    """Nothing is bound to this path."""

    code = "unknown-location"


class Forbidden(CmbsError):
    """Understood, and not allowed."""

    code = "forbidden"


class ImmutableAttribute(Forbidden):
    """A client may not change this attribute."""

    code = "immutable-attribute"


class ForgedSender(Forbidden):
    """Someone speaks for a member that it is not."""

    code = "forged-sender"


class CrossOrigin(Forbidden):
    """A page of another origin asks for a change."""

    code = "cross-origin"


class Conflict(CmbsError):
    """Contradicts what is already there."""

    code = "conflict"


class DuplicateId(Conflict):
    """An entity with this id exists."""

    code = "duplicate-id"


class RevisionConflict(Conflict):
    """Someone else changed the document first."""

    code = "revision-conflict"


class CategoryConflict(Conflict):
    """A definition contradicts the registered one, or is still in use."""

    code = "category-conflict"


class SecondLocalMember(Conflict):
    """A broker is one member."""

    code = "second-local-member"


class ClaimedId(Conflict):
    """Two members claim one id."""

    code = "claimed-id"


class Departed(Conflict):
    """The member left, and what is said of it is older than that."""

    code = "departed"


class NoLocalMember(Conflict):
    """Sending needs a local member, and there is none."""

    code = "no-local-member"


class NotSendable(Conflict):
    """The message may not be sent as it is."""

    code = "not-sendable"


class BeingSent(Conflict):
    """The message is on its way, and what was accepted is what arrives."""

    code = "being-sent"


class Overdue(Conflict):
    """The deadline of the message has passed."""

    code = "overdue"


class NotExecutable(Conflict):
    """The message may not be executed."""

    code = "not-executable"


class SocketUnavailable(Conflict):
    """A socket that cannot be bound."""

    code = "socket-unavailable"


class Unprotected(SocketUnavailable):
    """A socket that others could reach, while members are not asked for their keys."""

    code = "unprotected"


class PreconditionFailed(CmbsError):
    """What the request says it knows of the entity is not so any more."""

    code = "precondition-failed"


class Unauthenticated(CmbsError):
    """The broker wants to know who asks, and was not told, or not rightly."""

    code = "unauthenticated"


class TooManyAttempts(CmbsError):
    """Wrong passwords came too fast: the next one is looked at after ``retry_after`` seconds."""

    code = "too-many-attempts"

    def __init__(self, message: str, /, *, hint: str = "", retry_after: int = 1, **data: Any) -> None:
        super().__init__(message, hint=hint, retry_after=retry_after, **data)
        self.retry_after = retry_after


class UnknownHost(CmbsError):
    """The request is for a host that is not this one."""

    code = "unknown-host"


class UnsupportedVersion(CmbsError):
    """A version of OCCI that is newer than this broker."""

    code = "unsupported-version"


class UnsupportedProtocol(CmbsError):
    """A version of HTTP that the broker does not speak."""

    code = "unsupported-protocol"


class NotImplementedHere(CmbsError):
    """A method or a coding of HTTP that the broker does not have."""

    code = "not-implemented"


class ExpectationFailed(CmbsError):
    """The request expects what the broker cannot do."""

    code = "expectation-failed"


class RequestTimeout(CmbsError):
    """The request takes too long to arrive."""

    code = "request-timeout"


class MethodNotAllowed(CmbsError):
    """The path is there, the method is not. ``data['allow']`` lists those that are."""

    code = "method-not-allowed"


class NotAcceptable(CmbsError):
    """No rendering the client accepts."""

    code = "not-acceptable"


class UnsupportedMediaType(CmbsError):
    """No rendering can read this body."""

    code = "unsupported-media-type"


class TooLarge(CmbsError):
    """Over a size that is bounded."""

    code = "too-large"


class UriTooLong(TooLarge):
    """The URL is too long."""

    code = "uri-too-long"


class HeadersTooLarge(TooLarge):
    """The headers are too large, or too many."""

    code = "headers-too-large"


class Unavailable(CmbsError):
    """Not now; the same request may pass after ``retry_after`` seconds."""

    code = "unavailable"
    retry_after: ClassVar[int] = 1


class StoreUnavailable(Unavailable):
    """The store does not answer."""

    code = "store-unavailable"


class EngineUnavailable(Unavailable):
    """The engine process does not answer."""

    code = "engine-unavailable"


class QueueFull(Unavailable):
    """A bounded queue is at its bound."""

    code = "queue-full"


class RemoteError(CmbsError):
    """Another member answered with an error."""

    code = "remote-error"


class BadEnvelope(RemoteError):
    """Bytes from the wire that are no envelope of ours."""

    code = "bad-envelope"


class HandlerFailed(RemoteError):
    """A handler raised, crashed, or took too long."""

    code = "handler-failed"


class NoRoute(RemoteError):
    """A member that was asked to pass something on cannot reach whom it is for."""

    code = "no-route"


class UnknownKey(RemoteError):
    """A member whose key is not known here, so that nothing can be sent to it."""

    code = "unknown-key"


class ConfigurationError(CmbsError):
    """A setting, a file or a name at start is wrong. ``pycmbs`` prints it and exits with 2."""

    code = "configuration"


def _tree(base: type[CmbsError]) -> dict[str, type[CmbsError]]:
    found = {base.code: base}
    for child in base.__subclasses__():
        if "code" in vars(child):  # one without is its author's affair
            found.update(_tree(child))
    return found


def from_dict(document: Any) -> CmbsError:
    """The error that :meth:`CmbsError.to_dict` described; an unknown code comes back as :class:`RemoteError`.

    Takes anything: what describes an error comes from others. Texts are cut, and what is not text, number, or short list of
    them is left out, so that an error can be stored and shown whoever made it.
    """
    data = dict(document) if isinstance(document, dict) else {}
    code = str(data.pop("code", RemoteError.code))
    message = cut(str(data.pop("message", "the other side gave no reason")))
    hint = cut(str(data.pop("hint", "")))
    cls = _tree(CmbsError).get(code, RemoteError)
    return cls(message, hint=hint, **cut_values(data))
