"""The seeds of the fuzzer, and whatever it once found, as tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.targets import SEEDS, TARGETS, seeds

INPUTS = [
    (name, path) for name in TARGETS for folder in seeds(name) for path in sorted(folder.iterdir()) if path.is_file()
]


@pytest.mark.parametrize(("target", "path"), INPUTS, ids=[f"{name}-{path.name}" for name, path in INPUTS])
def test_an_input_raises_nothing(target: str, path: Path) -> None:
    """What once was found by fuzzing is not found again."""
    TARGETS[target](path.read_bytes())


def test_every_folder_of_seeds_has_a_target() -> None:
    """No seed is passed over."""
    assert {path.name for path in SEEDS.iterdir()} <= TARGETS.keys()
