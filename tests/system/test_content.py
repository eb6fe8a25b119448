"""The content of a message: any JSON, the same at the receiver as at the sender, up to a size."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings

from tests.harness import Broker, refusal, wait_until
from tests.test_codec import VALUES

Start = Callable[..., Broker]


@pytest.fixture(scope="module")
def two(start_shared: Start) -> tuple[Broker, Broker]:
    """Two brokers that know each other."""
    one, other = start_shared("--workers", "1", "--max-content", "2000"), start_shared("--workers", "1")
    one.become("l1")
    other.become("l1", "l2", neighbors=[one.socket("l1")])
    wait_until(lambda: other.member in one.known())
    return one, other


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(value=VALUES)
def test_it_arrives_as_it_was_sent(two: tuple[Broker, Broker], value: object) -> None:
    """60 generated JSON values, integers of any size among them, read the same at sender and receiver."""
    one = two[0]
    path = one.message("l2", value)
    assert one.send(path, "l2")["state"] == "delivered"
    for broker in two:
        found = broker.attributes(path, "message")["message_content"]
        assert repr(found) == repr(value)


@pytest.mark.parametrize(
    "value", [2**64, -(2**200), 10**1500, {"n": [2**63, 0.1, 1.0]}, "\x00", {"\x00": "é\U0001f600"}]
)
def test_values_that_others_change(two: tuple[Broker, Broker], value: object) -> None:
    """Long integers, NUL and what is beyond the basic plane."""
    one, other = two
    path = one.message("l2", value)
    assert one.send(path, "l2")["state"] == "delivered"
    assert repr(other.attributes(path, "message")["message_content"]) == repr(value)


def test_content_that_is_too_large(two: tuple[Broker, Broker]) -> None:
    """More than max_content is a 413 that names the attribute and the setting, at creation and at a change."""
    one, _ = two
    entity = {"kind": "http://houssem.org/cmbs#message", "attributes": {"cmbs.message.message_content": "x" * 2000}}
    answer = one.request("POST", "/cmbs/message/", entity)
    refusal(answer, 413, "too-large", "cmbs.message.message_content", "max_content")
    path = one.message("l2", "x" * 1998)
    change = {"attributes": {"cmbs.message.message_content": "x" * 1999}}
    refusal(one.request("POST", path, change), 413, "too-large", "cmbs.message.message_content")


@pytest.mark.parametrize("content", ["1" * 5000, "1e999", '"\\ud800"', "[" * 200 + "1" * 30 + "]" * 200, "NaN"])
def test_content_that_is_refused(two: tuple[Broker, Broker], content: str) -> None:
    """What is not JSON value that can be kept as it is, is a 400 that says so."""
    head = json.dumps({"kind": "http://houssem.org/cmbs#message"})[:-1]
    body = f'{head}, "attributes": {{"cmbs.message.message_content": {content}}}}}'.encode()
    refusal(two[0].request("POST", "/cmbs/message/", body), 400, "malformed-body")
