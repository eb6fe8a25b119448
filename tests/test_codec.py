"""JSON that comes out as it went in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycmbs import codec

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters(exclude_categories=["Cs"]))
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES, st.booleans())
def test_what_goes_in_comes_out(value, pretty):
    """Every JSON value, type by type: 1 stays an integer and 1.0 a float."""
    assert repr(codec.loads(codec.dumps(value, pretty=pretty))) == repr(value)


@given(VALUES)
def test_it_is_json_for_others(value):
    """Other programs read the same from what is written, and what they write is read the same."""
    assert repr(json.loads(codec.dumps(value))) == repr(value)
    assert repr(codec.loads(json.dumps(value).encode())) == repr(value)


@pytest.mark.parametrize("value", [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**4000])
def test_long_integers(value):
    """Around and beyond 64 bits."""
    assert codec.loads(codec.dumps([value])) == [value]


@pytest.mark.parametrize(
    "data",
    [
        b"1" * 5000,
        b"1e400",
        b"11111111111111111111e300",
        b"[11111111111111111111,1e400]",
        b"[11111111111111111111,NaN]",
        b'["\\ud800",11111111111111111111]',
        b'["\xff",11111111111111111111]',
        b"00000000000000000001",
        b"[" * 100_000 + b"1" * 20 + b"]" * 100_000,
        b"11111111111111111111,",
    ],
)
def test_what_is_refused(data):
    """What is not JSON, or no value that can be kept exactly, raises one error, long integer or not."""
    with pytest.raises(codec.DecodeError):
        codec.loads(data)


def test_what_cannot_be_written():
    """What nests too deep or is not JSON at all stays an error."""
    deep = 1
    for _ in range(400):
        deep = [deep]
    for value in (deep, object(), "\ud800"):
        with pytest.raises(TypeError):
            codec.dumps(value)


@pytest.mark.parametrize("element", [b"[],", b"{},", b"1,", b"[[1]],", b'"a,",', b'{"a":1},'])
def test_what_it_takes_is_estimated_before_it_is_read(element: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others send is refused when its values would take too much memory, before they are made."""
    read: list[bytes] = []
    monkeypatch.setattr(codec, "loads", read.append)
    with pytest.raises(codec.DecodeError, match="memory"):
        codec.received(b"[" + element * (codec.MOST_MEMORY // 32) + b"0]")
    assert read == []


@pytest.mark.parametrize("element", [b"[],", b"1,", b"[[1]],", b'"a,",', b'{"a":1},', b'{"a":[1,2]},', b'"x",'])
def test_what_a_message_may_hold_is_read(element: bytes) -> None:
    """A megabyte of whatever makes sense is read."""
    data = b"[" + element * (1024 * 1024 // len(element)) + b"0]"
    assert codec.received(data) == codec.loads(data)
