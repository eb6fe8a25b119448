"""Where members are known by their keys, each speaks for itself and for no one else."""

import pytest

from pycmbs.engine.speaker import check_plain, check_speaker, said
from pycmbs.errors import ForgedSender
from pycmbs.services.federation.keys import own_keys
from pycmbs.services.federation.seals import Seals
from pycmbs.transport.envelope import HELLO, LEAVE, Envelope

B = "0b6f4d1e-6f2a-4c55-9a5e-0d7cf0f0a001"


@pytest.mark.parametrize("sender", [B, f"urn:uuid:{B}"])
@pytest.mark.parametrize(
    "body", [{}, {"description": None}, {"description": {"id": B}}, {"description": {"id": f"urn:uuid:{B}"}}]
)
def test_a_member_speaks_for_itself(sender, body):
    """However it spells its id."""
    check_speaker(B, Envelope(HELLO, "1", sender, body))


@pytest.mark.parametrize("sender", ["c", "", "urn:uuid:c", f"{B}/"])
def test_nobody_speaks_for_another(sender):
    """Nor for no one."""
    with pytest.raises(ForgedSender):
        check_speaker(B, Envelope(LEAVE, "1", sender, {}))


def test_nobody_describes_another_as_itself():
    """A description that is the speaker's must be of the speaker."""
    with pytest.raises(ForgedSender):
        check_speaker(B, Envelope(HELLO, "1", B, {"description": {"id": "c"}}))


def test_without_keys_nobody_is_asked():
    """As in a federation that is open."""
    check_speaker(None, Envelope(HELLO, "1", "c", {"description": {"id": "d"}}))


@pytest.fixture
def mixed(tmp_path):
    """Seals where b has keys and others have none."""
    return Seals(own_keys(tmp_path), lambda _id: None, lambda: "own", knows=lambda member: member == B)


@pytest.mark.parametrize("sender", [B, f"urn:uuid:{B}", f"urn:uuid:{B.upper()}"])
def test_who_has_keys_is_believed_by_those_only(mixed, sender):
    """Where others have none yet: there is no way back to before it had some."""
    plain = Envelope(LEAVE, "1", sender, {})
    for check in (check_plain, said):
        with pytest.raises(ForgedSender):
            check(None, plain, mixed)
    check_plain(B, plain, mixed)
    check_plain(None, plain, None)


def test_who_has_none_is_believed_without(mixed):
    """And gets nothing sealed."""
    plain = Envelope(LEAVE, "1", "c", {}, to="c")
    assert said(None, plain, mixed) == plain
    assert mixed.closed(plain) == plain
    with pytest.raises(ForgedSender):
        mixed.closed(Envelope(LEAVE, "1", "c", {}, to=B))
