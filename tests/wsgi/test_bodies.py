"""Bodies of requests under way share a budget of bytes."""

from __future__ import annotations

from pycmbs.queues import SMALL, Budget
from tests.wsgi.conftest import Front

LARGE = b'{"resources": []}' + b" " * 2 * SMALL


def test_bodies_have_a_budget() -> None:
    """While other requests hold what there is for bodies, one that brings much is a 503, and one that brings little is
    answered; then there is room again."""
    front = Front()
    budget = front.application._bodies = Budget(2 * SMALL)
    assert budget.take(SMALL)
    answer = front.request("POST", "/cmbs/message/", LARGE, content_type="application/occi+json")
    assert (answer.status_int, answer.json["error"]["code"]) == (503, "queue-full")
    assert "Retry-After" in answer.headers
    small = {"resources": [{"kind": "http://houssem.org/cmbs#message"}]}
    assert front.request("POST", "/cmbs/message/", small, content_type="application/occi+json").status_int == 201
    budget.give(SMALL)
    for _ in range(3):  # each gives back what it had, also when it is refused
        assert front.request("POST", "/cmbs/message/", LARGE, content_type="application/occi+json").status_int == 400
    assert budget._taken == 0
