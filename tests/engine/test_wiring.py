"""How the engine is put together: what a part works with it has from the beginning."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pycmbs.engine

MODULES = sorted(Path(pycmbs.engine.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_attribute_appears_later(path: Path) -> None:
    """What an object has stands in its constructor."""
    wrong = []
    for cls in (one for one in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(one, ast.ClassDef)):
        methods = [one for one in cls.body if isinstance(one, ast.FunctionDef)]
        known = {
            name
            for method in methods
            if method.name == "__init__"
            for node in ast.walk(method)
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
            for name in [node.attr]
        } | {one.target.id for one in cls.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)}
        wrong += [
            f"{cls.name}.{method.name}: {ast.unparse(node)}"
            for method in methods
            for node in ast.walk(method)
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and ast.unparse(node) == f"self.{node.attr}"
            and node.attr not in known
        ]
    assert wrong == []
