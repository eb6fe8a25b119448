"""The table of layers, and who reads it."""

from __future__ import annotations

import pytest

from pycmbs.occi import cmbs
from pycmbs.occi.layers import INTRODUCTORY, LAYERS, TABLE, layer_of
from pycmbs.occi.naming import canonical
from pycmbs.services.delivery.recipients import CHOICES


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_is_spelled_in_two_ways_at_most(layer: str) -> None:
    """A name of 2012 and a name of today mean one socket, one mixin, one action."""
    for name in ("{}_socket", "start_{}", "http://houssem.org/cmbs#{}"):
        assert canonical(name.format(TABLE[layer].spelling)) == canonical(name.format(layer)) == name.format(layer)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_says_how_its_recipients_are_chosen(layer: str) -> None:
    """There is one way for what a message on it must say, and a sentence for when it comes to no one."""
    assert TABLE[layer].needs in CHOICES
    assert TABLE[layer].nobody


def test_members_introduce_themselves_on_one_layer() -> None:
    """As since 2012."""
    assert [one.name for one in TABLE.values() if one.introduces] == [INTRODUCTORY] == ["l1"]


def test_the_layer_of_an_action() -> None:
    """An action such as ``send_l31`` is its verb and its layer."""
    assert [layer_of("send", f"send_{layer}") for layer in LAYERS] == list(LAYERS)
    assert [layer_of("send", term) for term in ("start_l1", "send_l5", "send", "execute", "")] == [""] * 5


def test_a_mixin_means_its_layer() -> None:
    """Each of the shipped mixins."""
    assert [cmbs.LAYER_OF[cmbs.mixin(layer)] for layer in LAYERS] == list(LAYERS)
