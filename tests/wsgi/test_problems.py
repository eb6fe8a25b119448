"""Errors as problem details (RFC 9457), for a client that names their type."""

from __future__ import annotations

import pytest

from pycmbs.occi import cmbs

PROBLEM = "application/problem+json"
WRONG = {"kind": cmbs.MESSAGE, "attributes": {"cmbs.message.nothing": 1}}


@pytest.mark.parametrize(
    "accept",
    [
        PROBLEM,
        f"application/occi+json, {PROBLEM}",
        f"{PROBLEM};q=0.5, text/plain",
        "Application/Problem+JSON, */*",
        f"image/png, {PROBLEM}",
    ],
)
@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", cmbs.MESSAGE_LOCATION + "x", None, 404, "unknown-entity"),
        ("POST", cmbs.MESSAGE_LOCATION, WRONG, 400, "invalid-attribute"),
        ("PATCH", cmbs.MESSAGE_LOCATION, None, 405, "method-not-allowed"),
    ],
)
def test_an_error_has_what_the_standard_says(front, accept, method, path, body, status, code):
    """And what ours has besides, whatever else the client accepts."""
    answer = front.request(method, path, body, Accept=accept)
    if "image" in accept:
        status, code = 406, "not-acceptable"
    assert (answer.status_code, answer.content_type) == (status, PROBLEM)
    assert answer.json["status"] == status
    assert answer.json["code"] == code
    assert answer.json["type"] == f"tag:houssem.org,2012:cmbs:/errors/{code}"
    assert answer.json["title"]
    assert answer.json["detail"]
    assert "message" not in answer.json
    assert answer.headers["X-OCCI-Error"]


@pytest.mark.parametrize(
    ("accept", "type"),
    [
        (PROBLEM, "application/occi+json"),
        (f"text/plain, {PROBLEM}", "text/plain"),
        (f"{PROBLEM};q=0.1,application/json", "application/json"),
    ],
)
def test_what_succeeds_is_no_problem(front, accept, type):
    """It comes in the best of the other types, or in JSON."""
    answer = front.request("GET", "/-/", Accept=accept)
    assert (answer.status_code, answer.content_type) == (200, type)


@pytest.mark.parametrize("accept", ["application/occi+json", "*/*", "application/*", f"text/plain, {PROBLEM};q=0"])
def test_who_does_not_ask_gets_errors_as_ever(front, accept):
    """A wildcard does not mean them."""
    answer = front.request("GET", cmbs.MESSAGE_LOCATION + "x", Accept=accept)
    assert (answer.status_code, answer.content_type != PROBLEM) == (404, True)
