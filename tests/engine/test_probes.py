"""How many probes begin when. The clock is a number, and nothing is sent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from pycmbs.engine.probes import Probes
from pycmbs.engine.requests import Requests
from pycmbs.engine.vitals import Vitals
from pycmbs.services.federation.health import HealthService
from pycmbs.services.federation.lives import Lives
from pycmbs.services.federation.members import MemberService


def test_many_who_are_due_at_once_are_probed_by_and_by() -> None:
    """Of a hundred new members twenty are probed at once and twenty more each second, those who wait for longest first; each
    only once."""
    begun: list[str] = []
    requests = SimpleNamespace(begin=lambda url, *_, **__: begun.append(url))
    probes = Probes(
        cast(MemberService, None),
        cast(HealthService, None),
        cast(Requests, requests),
        Lives(),
        on_alive=begun.append,
        on_news=begun.append,
        seconds=1,
        interval=5,
    )
    probes._own = ("me", 1, "")
    for number in range(100):
        vitals = probes._vitals[f"m{number}"] = Vitals(f"m{number}", {"l1": f"memory:m{number}"}, 1)
        vitals.due = float(100 - number)
    for now, number in (
        (1000.0, 20),
        (1000.0, 20),
        (1000.5, 30),
        (1002.0, 50),
        (1003.0, 70),
        (1010.0, 90),
        (1020.0, 100),
    ):
        probes._begin_due(now)
        assert len(begun) == number
    assert begun == [f"memory:m{number}" for number in reversed(range(100))]
