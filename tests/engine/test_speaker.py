"""Where members are known by their keys, each speaks for itself and for no one else."""

import pytest

from pycmbs.engine.speaker import check_speaker
from pycmbs.errors import ForgedSender
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
