"""What follows from the code: tables in the documents, the manual page, completions; ``python -m tests.documents.tables``
writes them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pycmbs import errors
from pycmbs.config import SETTINGS
from pycmbs.errors import CmbsError
from pycmbs.metrics.counting import PREFIX
from pycmbs.metrics.table import METRICS
from pycmbs.wsgi.errors import status_of
from tests.documents import manual
from tests.documents.markdown import DECISIONS, ROOT


def settings() -> str:
    """Every setting, as doc/configuration.md has it."""
    lines = [
        "| Setting | Default | Unit | Environment | Flag | File, section | Allowed | Meaning |",
        "| --- " * 8 + "|",
    ]
    for one in SETTINGS:
        allowed = one.value.allowed.partition(", since")[0]
        cells = (
            f"`{one.name}`", f"`{one.default}`" if one.default else "empty", one.unit, f"`{one.variable}`", f"`{one.flag}`",
            f"`{one.file}`, `[{one.section}]`", allowed, one.meaning,
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def error_codes() -> str:
    """Every error, as doc/http.md has it: what is more special stands under what is more general."""
    lines = ["| Code | Status | Class | Meaning |", "| --- | --- | --- | --- |"]
    for cls in _tree(CmbsError):
        meaning = re.split(r"(?<=[.?!])\s", " ".join((cls.__doc__ or "").replace("``", "`").split()))[0]
        lines.append(f"| `{cls.code}` | {status_of(cls(''))} | `{cls.__name__}` | {meaning} |")
    return "\n".join(lines)


def metrics() -> str:
    """Every metric, as doc/operations.md has it."""
    lines = ["| Metric | Type | Labels | Meaning |", "| --- | --- | --- | --- |"]
    for one in METRICS:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        lines.append(f"| `{PREFIX}{one.name}` | {one.kind} | {labels} | {one.help} |")
    return "\n".join(lines)


def decisions() -> str:
    """Every decision with its date, as doc/adr/README.md has it."""
    lines = ["| Number | Date | Decision |", "| --- | --- | --- |"]
    for path in DECISIONS:
        text = path.read_text(encoding="utf-8")
        heading = re.match(r"# (\d+)\. (.+)\n", text)
        date = re.search(r"^## Status\n\nAccepted on (\d{4}-\d\d-\d\d)\.", text, re.MULTILINE)
        assert heading, f'{path.name} must begin with "# N. Title"'
        assert date, f'{path.name}: its status must be "Accepted on YYYY-MM-DD."; then run make tables'
        lines.append(f"| {heading[1]} | {date[1]} | [{heading[2]}]({path.name}) |")
    return "\n".join(lines)


def _tree(cls: type[CmbsError]) -> Iterator[type[CmbsError]]:
    yield cls
    for child in cls.__subclasses__():
        if child.__module__.startswith(f"{errors.__name__}."):
            yield from _tree(child)


TABLES = {
    "doc/configuration.md": ("settings", settings),
    "doc/http.md": ("errors", error_codes),
    "doc/operations.md": ("metrics", metrics),
    "doc/adr/README.md": ("decisions", decisions),
}
"""Document to the name of its table's markers, and what makes the table."""


def written(document: str) -> str:
    """The document as it is, with its table as the code has it."""
    name, make = TABLES[document]
    text = (ROOT / document).read_text(encoding="utf-8")
    marked = re.compile(rf"(<!-- {name}: .*? -->\n\n).*?(\n\n<!-- /{name} -->)", re.DOTALL)
    assert len(marked.findall(text)) == 1, f"{document} must have the table {name} once, between its markers"
    return marked.sub(lambda found: found[1] + make() + found[2], text)


if __name__ == "__main__":
    for path in TABLES:
        (ROOT / path).write_text(written(path), encoding="utf-8")
    for path, text in manual.files().items():
        (ROOT / path).write_text(text, encoding="utf-8")
