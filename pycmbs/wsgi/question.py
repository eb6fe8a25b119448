"""Request data, validated when it is read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic, TypeVar, overload

from pycmbs.errors import InvalidRequest, QueueFull, RequestTimeout, TooLarge, UnsupportedMediaType
from pycmbs.occi import naming
from pycmbs.occi.entity import Draft, Invocation
from pycmbs.occi.rendering import Reader
from pycmbs.occi.rendering import fields as f
from pycmbs.occi.rendering.cloud_events import from_headers
from pycmbs.queues import Budget
from pycmbs.services.entities.idempotency import RequestKey
from pycmbs.services.entities.preconditions import ALWAYS, Precondition
from pycmbs.wsgi.guard import Place
from pycmbs.wsgi.head import RAW_PATH
from pycmbs.wsgi.negotiation import CLOUD_EVENT, HEADERS, media_type, reader
from pycmbs.wsgi.preconditions import NO_ENTITY, Tagged, tags
from pycmbs.wsgi.query import NO_QUERY, Query, parse

_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,9})\"?\s*(?:$|[,;])", re.IGNORECASE)
"""How long a client would wait, in a Prefer header (RFC 7240)."""
_KEY = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")
"""The form of an Idempotency-Key."""
_ENDS = ("occi.core.source", "occi.core.target")
_PIECE = 65_536
"""Bytes of a body that are read at a time."""


T = TypeVar("T")


class _once(Generic[T]):  # noqa: N801 - a decorator
    """A property that is computed on first access. Python's own version takes a lock until 3.12, which is half of its cost,
    and a request has only one thread."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, instance: None, owner: Any) -> _once[T]: ...

    @overload
    def __get__(self, instance: object, owner: Any) -> T: ...

    def __get__(self, instance: object | None, owner: Any) -> _once[T] | T:
        if instance is None:
            return self
        value = instance.__dict__[self._make.__name__] = self._make(instance)
        return value


class Question:
    """A request, whose parts are checked when they are read."""

    place: Place
    """The URL by which this client reaches the broker; known once the request was admitted."""

    def __init__(self, environ: dict[str, Any], *, max_body: int, bodies: Budget) -> None:
        """``max_body``: in bytes. ``bodies``: the budget for the bodies of all requests under way."""
        self.environ = environ
        self.method: str = environ["REQUEST_METHOD"]
        self.sent = media_type(environ.get("CONTENT_TYPE") or "")
        """The media type that the client gives for its body; empty if it gives none."""
        self._bodies = bodies
        self._held = 0
        self._max_body = max_body

    @_once
    def path(self) -> str:
        """The path, decoded. Raises InvalidRequest for one that is not text, or that has an encoded slash: a proxy
        that filters by path would see a different path."""
        environ = self.environ
        if RAW_PATH in environ and "%2f" in environ[RAW_PATH].lower():
            raise InvalidRequest("the path has an encoded slash (%2F)", hint="Write / where a slash is meant.")
        path: str = environ.get("PATH_INFO", "/")
        if not path.isascii():
            try:
                path = path.encode("latin-1").decode("utf-8")
            except UnicodeError as exc:
                raise InvalidRequest("the path is not UTF-8") from exc
        if not path.isprintable():
            raise InvalidRequest(f"the path {path[:200]!r} has a control character")
        return path or "/"

    @_once
    def query(self) -> Query:
        """The parameters. Raises InvalidRequest for an unknown one: a mistyped filter must not select everything."""
        text = self.environ.get("QUERY_STRING")
        return parse(text) if text else NO_QUERY

    def invocation(self, term: str) -> Invocation:
        """The action that the URL and the body ask for, with attributes from both. Raises InvalidRequest for one that is given
        twice, MalformedBody."""
        asked = self.reader.invocation(self.body, term)
        if "HTTP_PREFER" in self.environ and (preferred := self._preferred):
            asked = replace(asked, preferred=preferred)
        if not self.query.options:
            return asked
        options = dict(self.query.options)
        if twice := options.keys() & asked.attributes.keys():
            raise InvalidRequest(
                f"the URL and the body both give {min(twice)[:100]!r}",
                hint="Give it in one of them.",
                parameter=min(twice)[:100],
            )
        return replace(asked, attributes={**asked.attributes, **options})

    def following(self, term: str) -> Invocation:
        """The action that the URL asks for on the entities that the body describes."""
        return Invocation(naming.canonical(term), attributes=dict(self.query.options), preferred=self._preferred)

    @property
    def key(self) -> RequestKey | None:
        """The key by which the client identifies this request among its others. Raises InvalidRequest."""
        said = self.environ.get("HTTP_IDEMPOTENCY_KEY")
        if said is None:
            return None
        text = said.strip()
        if len(text) > 1 and text[0] == text[-1] == '"':
            text = text[1:-1]
        if not _KEY.fullmatch(text):
            raise InvalidRequest(
                "the Idempotency-Key is invalid",
                hint="A key is 1 to 255 printable characters of ASCII, such as a UUID.",
                field="Idempotency-Key",
            )
        return RequestKey(text, "\n".join((self.path, self.query.then or "", "")).encode() + self.body)

    def refuse_key(self) -> None:
        """Raises InvalidRequest for an Idempotency-Key where it would not prevent a request from being done twice."""
        if "HTTP_IDEMPOTENCY_KEY" in self.environ:
            raise InvalidRequest(
                "Idempotency-Key is for what creates entities",
                hint="Create and act with one request: ?then= instead of ?action=.",
                field="Idempotency-Key",
            )

    @property
    def _preferred(self) -> dict[str, int]:
        found = _WAIT.search(self.environ.get("HTTP_PREFER", ""))
        return {"wait": int(found[1])} if found else {}

    def refuse_action(self) -> None:
        """Raises InvalidRequest for ``?action=`` with a method that performs none: it would silently do nothing."""
        if self.query.action is not None:
            raise InvalidRequest(f"{self.method} performs no action", hint="Use -X POST.", parameter="action")
        self.refuse_then()

    def refuse_then(self) -> None:
        """Raises InvalidRequest for ``?then=`` where nothing is created."""
        if self.query.then is not None:
            raise InvalidRequest(
                f"then goes with the POST of new entities, which {self.method} {self.path[:200]} is not",
                hint="POST them to the location of their kind; ?action= acts on what is there.",
                parameter="then",
            )

    def refuse_parameters(self) -> None:
        """Raises InvalidRequest for any parameter, where none has any meaning."""
        self.refuse_action()
        self.refuse_filters()
        self.refuse_pages()

    def refuse_filters(self) -> None:
        """Raises InvalidRequest for parameters that select entities, where there is nothing to select."""
        if self.query.categories or self.query.attributes:
            raise InvalidRequest(f"{self.method} {self.path} has nothing to filter", parameter="category")

    def refuse_watch(self) -> None:
        """Raises InvalidRequest for ``?watch`` where nothing is watched."""
        if self.query.watch is not None:
            raise InvalidRequest(f"{self.method} {self.path} cannot be watched", hint="Use GET.", parameter="watch")

    def refuse_pages(self) -> None:
        """Raises InvalidRequest for ``?page=`` where there are no pages: the client would mean a part, and get all."""
        self.refuse_watch()
        self.refuse_windows()

    def refuse_windows(self) -> None:
        """Raises InvalidRequest for ``?page=`` and ``?order=``."""
        window = self.query.window
        if window is not None:
            name = "page" if window.number is not None else "order"
            raise InvalidRequest(f"{self.method} {self.path} knows no pages, and no order", parameter=name)

    @property
    def body(self) -> bytes:
        """What the client sent: the body, or its equivalent in headers (``text/occi``)."""
        return self._content[1]

    @_once
    def _content(self) -> tuple[str, bytes]:
        """The media type of :attr:`body`, and the body. A request without a body may have its fields in headers, whatever type
        it gives: filters do so in GFD.223 5.3.2."""
        body = self._raw_body()
        if "HTTP_CE_SPECVERSION" in self.environ and self.method == "POST":
            return CLOUD_EVENT, from_headers(self._of_event(), self.environ.get("CONTENT_TYPE") or "", body)
        if self.sent != HEADERS and body.strip():
            return self.sent, body
        fields = self._fields()
        return (HEADERS, fields) if fields or self.sent == HEADERS else ("application/json", body)

    def _of_event(self) -> dict[str, str]:
        """The attributes of a CloudEvent that are headers."""
        return {name[8:].lower(): text for name, text in self.environ.items() if name.startswith("HTTP_CE_")}

    def _fields(self) -> bytes:
        environ = self.environ
        names = ((name, environ.get("HTTP_" + name.upper().replace("-", "_"))) for name in f.NAMES)
        return f.from_headers((name, text) for name, text in names if text)

    def _raw_body(self) -> bytes:
        """The whole body. Raises TooLarge without reading more than the limit, InvalidRequest if it is cut off."""
        environ = self.environ
        length = environ.get("CONTENT_LENGTH") or ""
        chunked = "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()
        if not chunked and not length:
            return b""
        if length and not (length.isascii() and length.isdigit() and len(length) < 20):
            raise InvalidRequest(f"the Content-Length {length[:40]!r} is not a number")
        wanted = int(length) if length and not chunked else self._max_body + 1
        if length and int(length) > self._max_body:
            raise self._too_large()
        coding = environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
        if coding not in ("", "identity") and (chunked or int(length)):
            raise UnsupportedMediaType(
                f"the body is encoded as {coding[:40]!r}", hint="Send it without a Content-Encoding."
            )
        try:
            body = self._received(wanted)
        except TimeoutError as exc:
            raise RequestTimeout(f"the body did not arrive in time: {exc}") from exc
        except (OSError, ValueError) as exc:
            raise InvalidRequest(f"the body breaks off: {exc}") from exc
        if len(body) > self._max_body:
            raise self._too_large()
        if not chunked and len(body) < wanted:
            raise InvalidRequest(f"the body breaks off after {len(body)} of {wanted} bytes")
        return body

    def _received(self, most: int) -> bytes:
        """At most so many bytes of the body; each piece counts towards the budget as soon as it arrives. Raises QueueFull."""
        source, pieces = self.environ["wsgi.input"], []
        while most and (piece := source.read(min(most, _PIECE))):
            if not self._bodies.take(len(piece)):
                raise QueueFull(
                    "the bodies of other requests fill what there is for them", hint="Try again in a second."
                )
            self._held += len(piece)
            pieces.append(piece)
            most -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def release(self) -> None:
        """The request is answered: what it was given is needed no more."""
        held, self._held = self._held, 0
        if held:
            self._bodies.give(held)

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"the body is larger than {self._max_body} bytes", hint="The setting max_body says how large it may be."
        )

    @property
    def reader(self) -> Reader:
        """The reader of the body. An empty one needs no type. Raises UnsupportedMediaType."""
        return reader(self._content[0])

    def drafts(self, *, inline: bool = False) -> list[Draft]:
        """The entities that the body describes, with the ends of links as paths if they are at this broker; ``inline`` as in
        :class:`~pycmbs.occi.rendering.Reader`. Raises MalformedBody or a more exact InvalidRequest."""
        return [self._localised(draft) for draft in self.reader.drafts(self.body, inline=inline)]

    def filters(self) -> list[Draft]:
        """The partial entities by which the body filters, read as by :meth:`drafts`."""
        return [self._localised(draft) for draft in self.reader.entity_filter(self.body)]

    def value(self, attribute: str, value: Any) -> Any:
        """The attributes as the client gives them, with the ends of links as paths if they are at this broker."""
        if attribute not in _ENDS or not isinstance(value, str):
            return value
        local = any(value.startswith(base + "/") for base in self.place.bases) or (
            attribute == _ENDS[0] and "://" in value
        )
        return naming.local_path(value) if local else value

    def _localised(self, draft: Draft) -> Draft:
        given = draft.attributes or {}
        if not draft.links and _ENDS[0] not in given and _ENDS[1] not in given:
            return draft
        links = [self._localised(link) for link in draft.links or ()]
        ends = {name: self.value(name, given[name]) for name in _ENDS if name in given}
        return replace(draft, attributes={**given, **ends} or None, links=links if draft.links is not None else None)

    @property
    def precondition(self) -> Precondition:
        """The conditions that If-Match and If-None-Match set for the entity that is changed."""
        match, none_match = self.environ.get("HTTP_IF_MATCH"), self.environ.get("HTTP_IF_NONE_MATCH")
        return ALWAYS if match is None and none_match is None else Tagged(tags(match), tags(none_match))

    def check_whole(self) -> None:
        """Raises PreconditionFailed for a change of a collection, or of the categories, that depends on a tag: the tag could
        not be compared in one step with the change."""
        precondition = self.precondition
        if precondition is not ALWAYS:
            precondition.check(self.path, NO_ENTITY)
