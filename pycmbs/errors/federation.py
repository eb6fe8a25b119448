"""Errors about members, and messages on their way between them. The whole tree is drawn in :mod:`pycmbs.errors`."""

from __future__ import annotations

from pycmbs.errors.families import Conflict, Forbidden, RemoteError, Unavailable


class ForgedSender(Forbidden):
    """Someone speaks for a member that it is not."""

    code = "forged-sender"


class SecondLocalMember(Conflict):
    """A broker is one member."""

    code = "second-local-member"


class ClaimedId(Conflict):
    """Two members claim one id."""

    code = "claimed-id"


class Departed(Conflict):
    """The member left, and what is said of it is older than that."""

    code = "departed"


class Revoked(Departed):
    """The member's identity is no longer trusted."""

    code = "revoked"


class NoLocalMember(Conflict):
    """Sending needs a local member, and there is none."""

    code = "no-local-member"


class NotSendable(Conflict):
    """The message may not be sent as it is."""

    code = "not-sendable"


class BeingSent(Conflict):
    """The message is on its way: it cannot be changed until it is settled."""

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


class EngineUnavailable(Unavailable):
    """The engine process does not answer."""

    code = "engine-unavailable"


class QueueFull(Unavailable):
    """A bounded queue is at its bound."""

    code = "queue-full"


class OverQuota(Unavailable):
    """A member sends more than one may."""

    code = "over-quota"


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
