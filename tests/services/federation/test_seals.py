"""What goes through others is read, and written, by the two whom it is between, and once."""

import base64
import json

import pytest
from msgspec.structs import replace
from nacl.public import Box
from nacl.signing import SigningKey, VerifyKey

from pycmbs.errors import ForgedSender
from pycmbs.services.federation import seals as module
from pycmbs.services.federation.keys import own_keys
from pycmbs.services.federation.seals import Seals, is_sealed
from pycmbs.transport.envelope import Envelope, decode, encode

BODY = {"layer": "l1", "message": {"id": "m"}, "deadline": 60.0}
DAY = 86400.0


class World:
    """Members that know each other's identities, and the time."""

    def __init__(self, tmp_path):
        self.now = 1_000_000.0
        self.keys, self.seals = {}, {}
        for name in "abc":
            (tmp_path / name).mkdir()
            self.keys[name] = own_keys(tmp_path / name)
            self.seals[name] = Seals(self.keys[name], self.identity, lambda name=name: name, lambda: self.now)

    def identity(self, member):
        return self.keys[member].identity.public if member in self.keys else None

    def sealed(self, sender="a", to="b", type="message", body=BODY):
        return decode(encode(self.seals[sender].closed(Envelope(type, "1", sender, body, to=to))))


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_the_recipient_reads_what_the_sender_sealed(world):
    """Whatever id relays gave the datagram; outside there are the layer and the size."""
    sealed = world.sealed()
    assert is_sealed(sealed)
    assert sealed.body.keys() == {"layer", "sealed"}
    assert b'"m"' not in encode(sealed)
    opened = world.seals["b"].opened(replace(sealed, id="9", path=("c",)))
    assert (opened.body, opened.id, opened.sealed_as, opened.path) == (BODY, "9", "1", ("c",))


def test_an_answer_says_what_it_answers(world):
    """The id of the question is inside; and only the one that asked opens it."""
    opened = world.seals["b"].opened(replace(world.sealed(), id="9"))
    answer = world.seals["b"].closed(
        Envelope("ack", "9", "b", {"status": "delivered"}, to="a", sealed_as=opened.sealed_as)
    )
    got = world.seals["a"].opened(replace(answer, id="1"))
    assert (got.body, got.sealed_as) == ({"status": "delivered"}, "1")
    assert world.seals["a"].is_for_me(answer)
    assert not world.seals["c"].is_for_me(answer)
    with pytest.raises(ForgedSender):
        world.seals["c"].opened(answer)


@pytest.mark.parametrize(
    "changed",
    [
        {"type": "probe"},
        {"type": "leave"},
        {"sender": "c"},
        {"sender": "b"},
        {"sender": "nobody"},
        {"to": "c"},
        {"to": ""},
        {"to": "a"},
    ],
)
def test_what_is_outside_must_be_inside(world, changed):
    """A relay that makes something else of it is found out."""
    with pytest.raises(ForgedSender):
        world.seals["b"].opened(replace(world.sealed(), **changed))


def test_the_layer_is_sealed_too(world):
    """A relay reads it, and does not change it."""
    sealed = world.sealed()
    for layer in ("l2", None, 1, {}):
        with pytest.raises(ForgedSender):
            world.seals["b"].opened(replace(sealed, body={**sealed.body, "layer": layer}))
    with pytest.raises(ForgedSender):
        world.seals["b"].opened(replace(sealed, body={"sealed": sealed.body["sealed"]}))


def test_no_byte_of_it_can_be_changed(world):
    """Nor is what is no seal one."""
    sealed = world.sealed()
    data = bytearray(base64.b64decode(sealed.body["sealed"]))
    for index in (0, 30, len(data) - 1):
        data[index] ^= 1
        text = base64.b64encode(bytes(data)).decode()
        with pytest.raises(ForgedSender):
            world.seals["b"].opened(replace(sealed, body={"layer": "l1", "sealed": text}))
        data[index] ^= 1
    for text in ("", "x", "AAAA", "A" * 100_000, "é"):
        with pytest.raises(ForgedSender):
            world.seals["b"].opened(replace(sealed, body={"layer": "l1", "sealed": text}))


@pytest.mark.parametrize(
    "inside",
    [
        b"",
        b"[]",
        b"{}",
        b'{"a":' * 300 + b"1" + b"}" * 300,
        *(
            json.dumps({"type": "probe", "from": "a", "to": "b", "id": "1", "at": 1e6, "body": {}, **said}).encode()
            for said in ({"id": ""}, {"id": 1}, {"at": None}, {"at": True}, {"at": "1"}, {"body": []}, {"to": "c"})
        ),
    ],
)
def test_what_a_member_seals_may_be_anything(world, inside):
    """It is refused, and breaks nothing."""
    secret = SigningKey(world.keys["a"].identity.secret).to_curve25519_private_key()
    box = Box(secret, VerifyKey(world.keys["b"].identity.public).to_curve25519_public_key())
    sealed = Envelope("probe", "1", "a", {"sealed": base64.b64encode(box.encrypt(inside)).decode()}, to="b")
    with pytest.raises(ForgedSender):
        world.seals["b"].opened(sealed)


@pytest.mark.parametrize(
    ("seconds", "taken"), [(0, True), (-3000, True), (-4000, False), (3000, True), (DAY - 4000, True), (DAY, False)]
)
def test_what_is_too_old_is_not_taken_again(world, seconds, taken):
    """Once its receipt may be gone, or from a time that is to come; clocks may differ by an hour."""
    sealed = world.sealed()
    world.now += seconds
    if taken:
        assert world.seals["b"].opened(sealed).body == BODY
    else:
        with pytest.raises(ForgedSender):
            world.seals["b"].opened(sealed)


def test_who_is_trusted_no_more_gets_nothing(world):
    """Though what is between the two was reckoned before."""
    sealed = world.sealed()
    del world.keys["a"]
    with pytest.raises(ForgedSender):
        world.seals["b"].opened(sealed)
    with pytest.raises(ForgedSender):
        world.seals["b"].closed(Envelope("probe", "1", "b", {}, to="a"))


def test_so_many_secrets_are_kept(world, monkeypatch):
    """What is kept is bounded."""
    monkeypatch.setattr(module, "_MOST_SECRETS", 1)
    for to in "bcb":
        world.sealed(to=to)
    assert len(world.seals["a"]._secrets) == 1
