"""Base classes of errors, by how callers handle them.

The whole tree is drawn in :mod:`pycmbs.errors`.
"""

from __future__ import annotations

from typing import Any, ClassVar


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

    @property
    def sentence(self) -> str:
        """What was wrong and what to do about it, for a terminal."""
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def to_dict(self) -> dict[str, Any]:
        """The error as plain data, to be rendered or to cross the federation."""
        document: dict[str, Any] = {"code": self.code, "message": self.message, **self.data}
        if self.hint:
            document["hint"] = self.hint
        return document

    def told(self) -> dict[str, Any]:
        """The error as it is sent to another member: without the hint, which may name what there is, to clients that may
        read it."""
        return {name: value for name, value in self.to_dict().items() if name != "hint"}


class InvalidRequest(CmbsError):
    """The request itself is wrong."""

    code = "invalid-request"


class NotFound(CmbsError):
    """What the request names is not there."""

    code = "not-found"


class Forbidden(CmbsError):
    """Understood, and not allowed."""

    code = "forbidden"


class Conflict(CmbsError):
    """Contradicts what is already there."""

    code = "conflict"


class PreconditionFailed(CmbsError):
    """What the request says it knows of the entity is not so any more."""

    code = "precondition-failed"


class TooLarge(CmbsError):
    """Over a size that is bounded."""

    code = "too-large"


class Unavailable(CmbsError):
    """Not now; the same request may pass after ``retry_after`` seconds."""

    code = "unavailable"
    retry_after: ClassVar[int] = 1


class RemoteError(CmbsError):
    """Another member answered with an error."""

    code = "remote-error"


class ConfigurationError(CmbsError):
    """A setting, a file or a name at start is wrong. ``pycmbs`` prints it and exits with 2."""

    code = "configuration"
