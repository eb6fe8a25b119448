"""The envelope: what stands on the wire, and what is refused."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycmbs.errors import BadEnvelope
from pycmbs.transport.envelope import ACK, HELLO, MAX_ID, VERSIONS, Envelope, decode, encode, reply_to

WIRE = '{"cmbs":1,"type":"message","id":"m-1","from":"berlin","body":{"layer":"l1","text":"grüß"}}'.encode()
VALUE = Envelope("message", "m-1", "berlin", {"layer": "l1", "text": "grüß"})

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
ENVELOPES = st.builds(
    Envelope,
    type=st.from_regex(r"\A[a-z][a-z0-9_-]{0,31}\Z"),
    id=st.text(st.characters(codec="utf-8").filter(str.isprintable), min_size=1, max_size=MAX_ID),
    sender=st.text(st.characters(exclude_categories=["Cs"]), max_size=MAX_ID),
    body=st.dictionaries(TEXT, JSON, max_size=5),
    to=TEXT,
    path=st.lists(TEXT, max_size=5).map(tuple),
)


def wire(**changes):
    """The bytes of a good envelope with some keys changed; a key that is None is left out."""
    document = orjson.loads(WIRE) | {name.rstrip("_"): value for name, value in changes.items()}
    return orjson.dumps({name: value for name, value in document.items() if value is not None})


def test_the_bytes_on_the_wire():
    """Version 1 is these bytes, in this order: other programs may rely on it."""
    assert encode(VALUE) == WIRE


def test_the_bytes_are_read():
    """Those bytes mean this value."""
    assert decode(WIRE) == VALUE


@given(ENVELOPES)
def test_round_trip(envelope):
    """Whatever can be said comes back as it was said."""
    assert decode(encode(envelope)) == envelope


@given(st.binary(max_size=200))
def test_any_bytes_are_an_envelope_or_refused(data):
    """No bytes raise anything but BadEnvelope."""
    try:
        decode(data)
    except BadEnvelope as error:
        assert error.message  # noqa: PT017 - not raising is fine too


@given(st.dictionaries(st.sampled_from(["cmbs", "type", "id", "from", "to", "path", "body", "x"]), JSON))
def test_any_object_is_an_envelope_or_refused(document):
    """No JSON object raises anything but BadEnvelope."""
    try:
        decode(orjson.dumps(document))
    except BadEnvelope as error:
        assert error.data["reason"] in {"version", "type", "id", "from", "to", "path", "body"}  # noqa: PT017


def test_unknown_keys_and_types_pass():
    """What a later minor change adds is ignored, and an unknown type is not this module's business."""
    assert decode(wire(type="novelty", extra=[1], trace="x")) == Envelope("novelty", "m-1", "berlin", VALUE.body)


def test_a_uuid_is_the_same_in_any_case():
    """RFC 9562 4: who speaks, who is meant and who passed it on are known by ids in lower case, however they come."""
    id = "996ad860-2a9a-504f-8861-aeafd0b2ae29"
    found = decode(wire(**{"from": id.upper(), "to": id.upper(), "path": [id.upper(), "X"]}))
    assert (found.sender, found.to, found.path) == (id, id, (id, "X"))


def test_an_empty_sender_passes():
    """Who is no member has no id, and may still ask."""
    assert decode(wire(from_="")).sender == ""


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "json"),
        (b"GET / HTTP/1.1", "json"),
        (b"\xff\xfe", "json"),
        (WIRE[:-1], "json"),
        (WIRE + b"x", "json"),
        (b"[" * 100_000, "json"),
        (b"[1]", "object"),
        (b"null", "object"),
        (b'"hello"', "object"),
        (b"{}", "version"),
        (wire(cmbs=None), "version"),
        (wire(cmbs="1"), "version"),
        (wire(cmbs=1.0), "version"),
        (wire(cmbs=True), "version"),
        (wire(cmbs=0), "version"),
        (wire(cmbs=2), "version"),
        (wire(type=None), "type"),
        (wire(type=7), "type"),
        (wire(type=""), "type"),
        (wire(type="Hello"), "type"),
        (wire(type="a b"), "type"),
        (wire(type="hello\n"), "type"),
        (wire(type="x" * 33), "type"),
        (wire(id=None), "id"),
        (wire(id=7), "id"),
        (wire(id=""), "id"),
        (wire(id="x" * 201), "id"),
        (wire(id="a\nb"), "id"),
        (wire(from_=None), "from"),
        (wire(from_=["x"]), "from"),
        (wire(from_="x" * 201), "from"),
        (wire(to=7), "to"),
        (wire(to="x" * 201), "to"),
        (wire(path="a"), "path"),
        (wire(path=[7]), "path"),
        (wire(path=["a"] * 65), "path"),
        (wire(body=None), "body"),
        (wire(body=[]), "body"),
        (wire(body="x"), "body"),
    ],
)
def test_what_is_refused(data, reason):
    """Bytes that break a rule raise BadEnvelope, which says which rule."""
    with pytest.raises(BadEnvelope) as caught:
        decode(data)
    assert caught.value.data["reason"] == reason


def test_a_later_version_is_told_what_is_spoken_here():
    """A higher version is refused before anything else of it is looked at, and the refusal lists ours."""
    with pytest.raises(BadEnvelope, match="version 9; spoken here: 1") as caught:
        decode(b'{"cmbs":9,"all":"different"}')
    assert caught.value.data == {"reason": "version", "versions": list(VERSIONS)}


def test_an_answer_carries_the_id():
    """An answer has the id of what it answers, and its own sender."""
    answer = reply_to(VALUE, ACK, "paris", {"status": "delivered"})
    assert answer == Envelope("ack", "m-1", "paris", {"status": "delivered"})


def test_what_json_cannot_say_is_our_fault():
    """A body that is not JSON is a TypeError at the sender, never bytes on the wire."""
    with pytest.raises(TypeError):
        encode(Envelope(HELLO, "m-1", "berlin", {"x": object()}))
