"""``text/uri-list``: the URLs of entities and nothing else."""

from __future__ import annotations

from typing import Any, NoReturn

from pycmbs.errors import InvalidRequest
from pycmbs.occi.category import Category
from pycmbs.occi.entity import Draft, Invocation
from pycmbs.occi.rendering import CategorySet, EntityView
from pycmbs.occi.rendering.fields import decode
from pycmbs.occi.rendering.text import TextWriter


def _refuse() -> NoReturn:
    raise InvalidRequest(
        "text/uri-list holds URLs, and nothing else", hint="Send or accept text/plain or application/occi+json here."
    )


class UriListReader:
    """A :class:`~pycmbs.occi.rendering.Reader` of URLs, one on a line."""

    def categories(self, body: bytes) -> CategorySet:
        """See :class:`~pycmbs.occi.rendering.Reader`."""
        del body
        _refuse()

    def category_names(self, body: bytes) -> list[str]:
        """See :class:`~pycmbs.occi.rendering.Reader`."""
        del body
        _refuse()

    def category_filter(self, body: bytes) -> dict[str, list[dict[str, Any]]] | None:
        """See :class:`~pycmbs.occi.rendering.Reader`."""
        del body
        _refuse()

    def drafts(self, body: bytes, *, inline: bool = False) -> list[Draft]:
        """See :class:`~pycmbs.occi.rendering.Reader`."""
        del body, inline
        _refuse()

    def entity_filter(self, body: bytes) -> list[Draft]:
        """See :class:`~pycmbs.occi.rendering.Reader`."""
        del body
        _refuse()

    def locations(self, body: bytes) -> list[str] | None:
        """See :class:`~pycmbs.occi.rendering.Reader`. Lines that begin with ``#`` are comments."""
        lines = (line.strip() for line in decode(body).splitlines())
        return [line for line in lines if line and not line.startswith("#")] or None

    def invocation(self, body: bytes, term: str) -> Invocation:
        """See :class:`~pycmbs.occi.rendering.Reader`."""
        del body, term
        _refuse()


class UriListWriter(TextWriter):
    """A :class:`~pycmbs.occi.rendering.Writer` of URLs, for collections and creations; errors are text."""

    def categories(self, categories: list[Category], *, pretty: bool) -> bytes:
        """See :class:`~pycmbs.occi.rendering.Writer`."""
        del categories, pretty
        _refuse()

    def entity(self, view: EntityView, *, pretty: bool) -> bytes:
        """See :class:`~pycmbs.occi.rendering.Writer`."""
        del view, pretty
        _refuse()

    def listing(self, urls: list[str], *, pretty: bool) -> bytes:
        """See :class:`~pycmbs.occi.rendering.Writer`."""
        del pretty
        return "".join(f"{url}\n" for url in urls).encode()

    def report(self, action: str, document: dict[str, Any], *, pretty: bool) -> bytes:
        """See :class:`~pycmbs.occi.rendering.Writer`."""
        del action, document, pretty
        return b""
