"""What the documents name is there, and their tables are those of the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycmbs.config import SETTINGS
from pycmbs.transport.envelope import VERSION, decode, encode
from pycmbs.wsgi.collections import Collections
from pycmbs.wsgi.descriptions import Descriptions
from pycmbs.wsgi.entities import Entities
from pycmbs.wsgi.observation import Observation
from pycmbs.wsgi.query_interface import QueryInterface
from pycmbs.wsgi.routes import QUERY_PATHS, Routes
from tests.documents import manual, tables
from tests.documents.markdown import DECISIONS, DOCUMENTS, ROOT, fences, links, prose, quoted, table

PACKAGE = ROOT / "pycmbs"
HTTP = ROOT / "doc" / "http.md"
ARCHITECTURE = ROOT / "doc" / "architecture.md"

all_documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
with_names = pytest.mark.parametrize("document", [ARCHITECTURE, *DECISIONS], ids=lambda path: path.name)


@pytest.mark.parametrize("document", tables.TABLES)
def test_a_table_that_follows_from_the_code_is_up_to_date(document: str) -> None:
    """Settings and errors are documented as the code has them; `python -m tests.documents.tables` makes it so."""
    assert (ROOT / document).read_text(encoding="utf-8") == tables.written(document)


@pytest.mark.parametrize("path", manual.files())
def test_what_is_made_of_the_command_line_is_up_to_date(path: str) -> None:
    """The manual page has every command and flag, and shells complete them; `make tables` writes both."""
    assert (ROOT / path).read_text(encoding="utf-8") == manual.files()[path]


def test_the_settings_of_the_readme_are_settings() -> None:
    """The usual settings in the README have the flags, variables and defaults of the code."""
    known = {one.flag: (one.variable, one.default) for one in SETTINGS}
    for flag, variable, default, _ in (
        [cell.replace("`", "") for cell in row] for row in table(ROOT / "README.md", "Flag")
    ):
        if flag != "--config":
            assert known[flag] == (variable, default.partition(" ")[0])


def test_the_routes_are_those_of_the_code() -> None:
    """Every path and method there is has a row in doc/http.md, and no other."""
    observation = Observation(None, None, None, record=Path(), store="")
    handlers = (Collections(None, None, None), Entities(None, None), observation, Descriptions(None, None))
    routes = Routes(QueryInterface(None), *handlers)
    there = {("`/-/`", method) for method in routes.query}
    there |= {(f"`{path}`", "GET") for path in routes.descriptions}
    there |= {("collection", method) for method in routes.collection}
    there |= {("entity", method) for method in routes.entity}
    there |= {(f"`{path}`", "GET") for path in routes.observation}
    documented = [(path, method.strip("`")) for path, method, *_ in table(HTTP, "Path")]
    assert sorted(documented) == sorted(there)
    assert set(QUERY_PATHS) <= set(quoted(HTTP))


def test_the_errors_of_routes_are_errors() -> None:
    """The codes that doc/http.md gives to routes are codes of the code."""
    codes = {row[0] for row in table(HTTP, "Code")}
    assert {f"`{code}`" for row in table(HTTP, "Path") for code in re.findall(r"`([a-z-]+)`", row[4])} <= codes


def test_the_envelope_is_one() -> None:
    """The literal envelope of doc/architecture.md is what the broker reads and, byte for byte, writes."""
    (example,) = (text.strip().encode() for text in fences(ARCHITECTURE, "json") if '"cmbs"' in text)
    assert decode(example).version == VERSION
    assert encode(decode(example)) == example


@with_names
def test_what_is_named_in_the_code_is_there(document: Path) -> None:
    """Every module, class, function and constant that a document names exists under that name."""
    packages = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    named = {name for name in quoted(document) if re.fullmatch(r"\w+(\.\w+)+", name) and name.split(".")[0] in packages}
    named = {name for name in named if not name.endswith((".py", ".sock", ".json"))}
    missing = sorted(name for name in named if not list(_found(name)))
    assert not missing


@all_documents
def test_every_file_that_is_named_is_there(document: Path) -> None:
    """Every file and folder of the checkout that a document names or links to exists."""
    wanted = {
        word for word in quoted(document) if re.fullmatch(r"[\w.][\w./-]*\.(py|md|conf|json)|[\w.][\w./-]*/", word)
    }
    made_at_run_time = {"broker.json", "clock.json", "run/", "keys/", "conf/"} | {one.file for one in SETTINGS}
    for word in wanted - made_at_run_time:
        assert any((folder / word).exists() for folder in (ROOT, PACKAGE, ROOT / "json_examples")), word
    for link in links(document):
        if "://" not in link:
            assert (document.parent / link.partition("#")[0]).exists(), link


def test_the_tree_of_the_readme_is_the_tree() -> None:
    """Every line of the README's tree names something that is there, and no package is missing from it."""
    (tree,) = (text for text in fences(ROOT / "README.md", "text") if text.startswith("start.py"))
    named = [line.split()[0] for line in tree.splitlines()]
    assert all((ROOT / name).exists() for name in named)
    packages = {f"pycmbs/{path.name}/" for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert packages <= set(named)


def test_bounds_are_those_of_the_code() -> None:
    """Every bound and timeout of doc/architecture.md has the value that the code, or the setting's default, has."""
    defaults = {one.name: one.default for one in SETTINGS}
    for where, value, _ in table(ARCHITECTURE, "Where"):
        name = where.strip("`")
        actual = float(defaults[name]) if name in defaults else _value(name)
        assert float(value.split()[0]) == actual, name


def test_what_the_code_cites_is_in_the_repository() -> None:
    """A docstring or comment cites only documents and names that a reader of the repository can open."""
    decisions = {path.name[:4] for path in DECISIONS}
    astray = []
    for path in _python_files():
        text = path.read_text(encoding="utf-8")
        names = [name for _, name in re.findall(r":(\w+):`~?pycmbs\.([\w.]+)`", text) if not list(_found(name))]
        files = [name for name in re.findall(r"(?<![\w/])(?:doc/)?[\w/-]+\.md\b", text) if not _file(name)]
        numbers = [
            number for number in re.findall(r"\b(?:ADR |doc/adr/)(\d+)", text) if number.zfill(4) not in decisions
        ]
        outside = re.findall(r"(?<!\.)\bDESIGN(?: \d|,? \")", text)
        astray += [f"{path.relative_to(ROOT)}: {one}" for one in (*names, *files, *numbers, *outside)]
    assert astray == []


def test_make_help_says_it_all() -> None:
    """Every target of the Makefile has a line of `make help`, and a row in the README."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    described = re.findall(r"^([a-z]+):.*## .", text, re.MULTILINE)
    assert described == phony.split()
    rows = {row[0].strip("`") for row in table(ROOT / "README.md", "Command")}
    assert {f"make {name}" for name in described} - rows <= {"make help", "make run", "make demo"}


@all_documents
def test_a_document_stands_alone(document: Path) -> None:
    """No document names a place outside the checkout or of the machine it was written on."""
    text = document.read_text(encoding="utf-8")
    assert str(ROOT) not in text
    assert str(Path.home()) + "/" not in text
    assert all((document.parent / link).resolve().is_relative_to(ROOT) for link in links(document) if "://" not in link)


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda path: path.name)
def test_a_decision_has_its_parts(decision: Path) -> None:
    """A decision says its status, its context, what was decided, and what follows."""
    headings = re.findall(r"^## (.+)$", prose(decision), re.MULTILINE)
    assert headings == ["Status", "Context", "Decision", "Consequences"]
    assert prose(decision).startswith(f"# {int(decision.name[:4])}. ")


def _python_files() -> list[Path]:
    folders = ("pycmbs", "tests", "bench", "examples")
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")) if path != Path(__file__)]


def _file(name: str) -> bool:
    return any((folder / name).exists() for folder in (ROOT, ROOT / "doc", ROOT / "doc" / "adr"))


def _found(name: str) -> Iterator[ast.AST | Path]:
    """What a dotted name below pycmbs means, found without importing anything."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        path = PACKAGE.joinpath(*parts[:length])
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if file.is_file():
            if length == len(parts):
                yield file
            else:
                yield from _inside(ast.parse(file.read_text(encoding="utf-8")), parts[length:])
            return


def _inside(node: ast.AST, names: list[str]) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if names[0] in _names(child):
            if len(names) == 1:
                yield child
            else:
                yield from _inside(child, names[1:])
        elif isinstance(child, ast.ImportFrom) and names[0] in {one.name for one in child.names}:  # a package's face
            yield from _found(".".join([str(child.module).removeprefix("pycmbs."), *names]))


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _value(name: str) -> float:
    """The number that a constant is set to: a literal, or a product of literals."""
    (found,) = _found(name)
    assert isinstance(found, ast.Assign | ast.AnnAssign), name
    if isinstance(found.value, ast.Name):
        return _value(f"{name.rsplit('.', 2)[0]}.{found.value.id}")
    return float(_product(found.value))


def _product(node: ast.AST | None) -> float:
    if isinstance(node, ast.BinOp):
        assert isinstance(node.op, ast.Mult)
        return _product(node.left) * _product(node.right)
    assert isinstance(node, ast.Constant)
    return float(node.value)
