"""The four seams have one shape."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from pycmbs import backends, gateways, store, transport
from pycmbs.errors import ConfigurationError

SEAMS = [backends, gateways, store, transport]


@pytest.mark.parametrize("package", SEAMS)
def test_every_implementation_of_the_table_can_be_loaded(package: ModuleType) -> None:
    """By its name, and no two are the same."""
    found = [package.SEAM.load(name) for name in package.SEAM.names()]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("package", SEAMS)
def test_an_unknown_one_is_a_sentence_with_those_there_are(package: ModuleType) -> None:
    """No one gets an error of Python's."""
    seam: Any = package.SEAM
    with pytest.raises(ConfigurationError, match=", ".join(sorted(seam.names()))[:20].replace("+", r"\+")):
        seam.load("pigeon")
