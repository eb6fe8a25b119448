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
    │   ├── KeyReused             the Idempotency-Key of one request comes with another
    │   ├── RevisionConflict      someone else changed the document first
    │   ├── CategoryConflict      a definition contradicts the registered one, or is still in use
    │   ├── SecondLocalMember     a broker is one member
    │   ├── ClaimedId             two members claim one id
    │   ├── Departed              the member left, and what is said of it is older than that
    │   │   └── Revoked           the member's identity is no longer trusted
    │   ├── NoLocalMember         sending needs a local member, and there is none
    │   ├── NotSendable           the message may not be sent as it is
    │   ├── BeingSent             the message is on its way: it cannot be changed until it is settled
    │   ├── Overdue               the deadline of the message has passed
    │   ├── NotExecutable         the message may not be executed
    │   └── SocketUnavailable     a socket that cannot be bound
    │       └── Unprotected       a socket that others could reach, while members are not asked for their keys
    ├── PreconditionFailed        what the request says it knows of the entity is not so any more
    ├── Unauthenticated           the request lacks valid credentials
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
    │   ├── QueueFull             a bounded queue is at its bound
    │   └── OverQuota             a member sends more than one may
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

from typing import Any

from pycmbs.errors.families import (
    CmbsError,
    ConfigurationError,
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    PreconditionFailed,
    RemoteError,
    TooLarge,
    Unavailable,
)
from pycmbs.errors.federation import (
    BadEnvelope,
    BeingSent,
    ClaimedId,
    Departed,
    EngineUnavailable,
    ForgedSender,
    HandlerFailed,
    NoLocalMember,
    NoRoute,
    NotExecutable,
    NotSendable,
    Overdue,
    OverQuota,
    QueueFull,
    Revoked,
    SecondLocalMember,
    SocketUnavailable,
    UnknownKey,
    Unprotected,
)
from pycmbs.errors.http import (
    CrossOrigin,
    ExpectationFailed,
    HeadersTooLarge,
    MalformedBody,
    MethodNotAllowed,
    NotAcceptable,
    NotImplementedHere,
    RequestTimeout,
    TooManyAttempts,
    Unauthenticated,
    UnknownHost,
    UnsupportedMediaType,
    UnsupportedProtocol,
    UnsupportedVersion,
    UriTooLong,
)
from pycmbs.errors.model import (
    CategoryConflict,
    DuplicateId,
    ImmutableAttribute,
    InvalidAddress,
    InvalidAttribute,
    InvalidCategory,
    KeyReused,
    RevisionConflict,
    StoreUnavailable,
    UnknownCategory,
    UnknownEntity,
    UnknownLocation,
)
from pycmbs.sentences import cut, cut_values

__all__ = [
    "BadEnvelope",
    "BeingSent",
    "CategoryConflict",
    "ClaimedId",
    "CmbsError",
    "ConfigurationError",
    "Conflict",
    "CrossOrigin",
    "Departed",
    "DuplicateId",
    "EngineUnavailable",
    "ExpectationFailed",
    "Forbidden",
    "ForgedSender",
    "HandlerFailed",
    "HeadersTooLarge",
    "ImmutableAttribute",
    "InvalidAddress",
    "InvalidAttribute",
    "InvalidCategory",
    "InvalidRequest",
    "KeyReused",
    "MalformedBody",
    "MethodNotAllowed",
    "NoLocalMember",
    "NoRoute",
    "NotAcceptable",
    "NotExecutable",
    "NotFound",
    "NotImplementedHere",
    "NotSendable",
    "OverQuota",
    "Overdue",
    "PreconditionFailed",
    "QueueFull",
    "RemoteError",
    "RequestTimeout",
    "RevisionConflict",
    "Revoked",
    "SecondLocalMember",
    "SocketUnavailable",
    "StoreUnavailable",
    "TooLarge",
    "TooManyAttempts",
    "Unauthenticated",
    "Unavailable",
    "UnknownCategory",
    "UnknownEntity",
    "UnknownHost",
    "UnknownKey",
    "UnknownLocation",
    "Unprotected",
    "UnsupportedMediaType",
    "UnsupportedProtocol",
    "UnsupportedVersion",
    "UriTooLong",
    "from_dict",
]


def _tree(base: type[CmbsError]) -> dict[str, type[CmbsError]]:
    found = {base.code: base}
    for child in base.__subclasses__():
        if "code" in vars(child):  # one without is its author's affair
            found.update(_tree(child))
    return found


def from_dict(document: Any) -> CmbsError:
    """The error that :meth:`CmbsError.to_dict` described; an unknown code comes back as :class:`RemoteError`.

    Takes anything: what describes an error comes from others. Texts are cut, and what is not text, number, or short list of
    them is left out, so that an error of any origin can be stored and shown.
    """
    data = dict(document) if isinstance(document, dict) else {}
    code = str(data.pop("code", RemoteError.code))
    message = cut(str(data.pop("message", "the other side gave no reason")))
    hint = cut(str(data.pop("hint", "")))
    cls = _tree(CmbsError).get(code, RemoteError)
    return cls(message, hint=hint, **cut_values(data))
