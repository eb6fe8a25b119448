"""Bodies of requests under way share a budget of bytes."""

from __future__ import annotations

import io

import pytest
from webob import Request

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


class Dripping(io.RawIOBase):
    """A body of which something comes whenever it is read, without end; notes what the budget has then."""

    def __init__(self, budget: Budget) -> None:
        self.budget, self.seen = budget, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        self.seen = self.budget._taken
        return b" " * size


@pytest.mark.parametrize("length", ["900000", None])
def test_what_has_come_of_a_body_counts(length: str | None) -> None:
    """A body that is still coming has what is there of it from the budget, whether its length is known or not: many that never
    end cannot hold more than there is for all."""
    front = Front()
    front.application._max_body = 1_000_000
    budget = front.application._bodies = Budget(500_000)
    assert budget.take(200_000)
    body = Dripping(budget)
    environ = {"wsgi.input": body, "wsgi.input_terminated": True}
    environ |= {"CONTENT_LENGTH": length} if length else {"HTTP_TRANSFER_ENCODING": "chunked"}
    request = Request.blank(
        "/cmbs/message/", environ, method="POST", content_type="application/occi+json", accept="application/json"
    )
    answer = request.get_response(front.application)
    assert (answer.status_int, answer.json["error"]["code"]) == (503, "queue-full")
    assert 400_000 < body.seen <= 500_000
    assert budget._taken == 200_000
