"""What a client calls its request: taken as it is, or not at all."""

from __future__ import annotations

import pytest

from pycmbs import tracing

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_what_a_client_says_is_kept_as_it_says_it() -> None:
    """Request id, and both of trace context."""
    environ = {"HTTP_X_REQUEST_ID": "q1", "HTTP_TRACEPARENT": PARENT, "HTTP_TRACESTATE": "a=1,b=2"}
    assert tracing.said(environ) == {"request_id": "q1", "traceparent": PARENT, "tracestate": "a=1,b=2"}


def test_nothing_is_made_up() -> None:
    """A request that says nothing leaves nothing."""
    private: dict[str, str] = {}
    tracing.note(private)
    assert (private, tracing.said({}), tracing.log_fields({})) == ({}, {}, {})


@pytest.mark.parametrize(
    "text",
    [
        *("", "00", PARENT.upper(), "ff" + PARENT[2:], PARENT + "0", PARENT + "\n", PARENT.replace("-", "_")),
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
    ],
)
def test_a_traceparent_that_is_malformed_counts_for_nothing(text: str) -> None:
    """Nor does its tracestate (W3C Trace Context 3.2.2.5, 3.3)."""
    assert tracing.said({"HTTP_TRACEPARENT": text, "HTTP_TRACESTATE": "a=1"}) == {}


def test_a_later_version_may_say_more() -> None:
    """What follows after the flags is passed on (W3C Trace Context 3.2.4)."""
    later = "01" + PARENT[2:] + "-what-will-be"
    assert tracing.carried({"traceparent": later}) == {"traceparent": later}


def test_other_members_are_not_believed() -> None:
    """What is no text, or is not of its form, is left out."""
    assert tracing.carried({"request_id": 7, "traceparent": [PARENT], "tracestate": "x"}) == {}
    assert tracing.carried({"request_id": "a\nb"}) == {}


def test_the_first_request_is_the_one_that_is_noted() -> None:
    """A message has the trace of the request that made it, also when another one sends it."""
    private = {"request_id": "made-it"}
    token = tracing.tracing.set({"request_id": "sends-it"})
    try:
        tracing.note(private)
    finally:
        tracing.tracing.reset(token)
    assert private == {"request_id": "made-it"}
