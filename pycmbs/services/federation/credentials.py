"""By what a member is trusted, as people are told."""

from __future__ import annotations

from dataclasses import dataclass

from pycmbs.services.federation.keys import fingerprint
from pycmbs.services.federation.ring import Trust
from pycmbs.services.federation.roster import Roster

ISSUER, PINNED, VOUCHED, PLAIN, REVOKED, UNTRUSTED = "issuer", "pinned", "vouched", "plain", "revoked", "untrusted"


@dataclass(frozen=True, slots=True)
class Credentials:
    """``state``: ``issuer`` and ``pinned`` (the file ``members`` says so), ``vouched`` (an issuer signed a certificate),
    ``plain`` (believed without keys, where members are mixed), ``revoked``, or ``untrusted``. ``fingerprint``: of the member's
    identity. ``by``: of the one that vouches for it, or revoked it. Both are empty where there is none."""

    state: str
    fingerprint: str = ""
    by: str = ""


def credentials(ring: Trust | None, roster: Roster, id: str) -> Credentials | None:
    """Those of another broker's member; None where members are not asked for keys."""
    if ring is None:
        return None
    ring.learned(roster)
    pinned = ring.pinned.by_id.get(id)
    if (identity := ring.identity(id)) is not None and pinned is not None:
        return Credentials(ISSUER if pinned.issuer else PINNED, fingerprint(identity))
    if (certificate := ring.vouched(id)) is not None:
        return Credentials(VOUCHED, fingerprint(certificate.identity), fingerprint(certificate.issuer))
    if ring.is_revoked(id):
        gone = next(one for one in reversed(list(ring.revocations)) if one.id == id)
        return Credentials(REVOKED, fingerprint(gone.identity), fingerprint(gone.issuer))
    return Credentials(PLAIN if ring.mixed and not ring.knows(id) else UNTRUSTED)
