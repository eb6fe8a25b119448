"""Every call of the README of 2012, in its order, with its bytes, on an empty broker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import EXAMPLES, Answer, Broker, free_socket, is_free, listens, with_curl, with_requests

README = EXAMPLES / "readme_2012"
MEMBER = "/cmbs/member/996ad860-2a9a-504f-8861-aeafd0b2ae29"
ABSENT = "/cmbs/member/016ad860-2a9a-504f-8861-aeafd0b2ae29"
MESSAGE = "/cmbs/message/0101d860-2a9a-504f-8861-aeafd0b20101"
USER = ("--user", "user_1:pass")
ACTIONS = ("check_neighbors", "start_l1", "stop_l1", "start_l2", "stop_l2")

Client = Callable[..., Answer]
Start = Callable[..., Broker]

preloaded_or_not = pytest.mark.parametrize("preload", ["cmbs", "none"])


def define(client: Client, broker: Broker) -> None:
    """Sections 4.1 and 4.2: both kinds, their mixins and actions, and the backends of the kinds."""
    for kind in ("member", "message"):
        for method, name in (("POST", f"post_category_cmbs_{kind}"), ("PUT", f"put_provider_cmbs_{kind}")):
            answer = client(method, f"{broker.url}/-/", README / f"{name}.json", *USER)
            assert (answer.status, answer.body) == (200, b"")


def creates(client: Client, broker: Broker, collection: str, body: Path, path: str) -> None:
    """The POST is answered as the README prints it, and by a Location header."""
    answer = client("POST", broker.url + collection, body, *USER)
    assert (answer.status, answer.json()) == (201, {"Location": [broker.url + path]})
    assert answer.headers["location"] == broker.url + path


def elsewhere(body: Path, folder: Path, sockets: dict[str, str]) -> Path:
    """The body with its sockets changed, so that tests side by side do not meet on the ports of the README."""
    text = body.read_text()
    for old, new in sockets.items():
        text = text.replace(old, new)
    copy = folder / body.name
    copy.write_text(text)
    return copy


@pytest.mark.parametrize("client", [with_curl, with_requests])
@preloaded_or_not
def test_every_call_verbatim_and_in_order(start_broker: Start, preload: str, client: Client) -> None:
    """Each call does what the README says; acting on the member that it never created is a 404 that says so."""
    broker = start_broker("--preload", preload)
    define(client, broker)
    creates(client, broker, "/cmbs/member/", README / "post_member.json", MEMBER)
    for action in ACTIONS:
        answer = client("POST", f"{broker.url}{ABSENT}?action={action}", README / f"action_{action}_member.json")
        error = answer.json()["error"]
        assert (answer.status, error["code"], error["status"]) == (404, "unknown-entity", 404)
        assert ABSENT in error["message"]
        assert MEMBER in error["hint"]
    creates(client, broker, "/cmbs/message/", README / "post_message_l1.json", MESSAGE)
    answer = client("POST", f"{broker.url}{MESSAGE}?action=send_l1", README / "action_send_l1_message.json")
    assert (answer.status, answer.json()["recipients"]) == (200, 1)


@pytest.mark.parametrize("client", [with_curl, with_requests])
@preloaded_or_not
def test_the_calls_on_the_member_that_is_there(
    start_broker: Start, tmp_path: Path, preload: str, client: Client
) -> None:
    """Layers start and stop at once, also by actions the README's definition lacks, and L1 to itself lands in result."""
    broker = start_broker("--preload", preload)
    sockets = {f"tcp://127.0.0.1:{port}": free_socket() for port in (5010, 5020, 5031, 5032, 5040)}
    l1, l2 = sockets["tcp://127.0.0.1:5010"], sockets["tcp://127.0.0.1:5020"]
    define(client, broker)
    creates(client, broker, "/cmbs/member/", elsewhere(README / "post_member.json", tmp_path, sockets), MEMBER)

    def act(path: str, action: str, body: str) -> dict[str, object]:
        answer = client("POST", f"{broker.url}{path}?action={action}", README / f"{body}.json")
        assert answer.status == 200, answer.body
        return answer.json()

    assert act(MEMBER, "check_neighbors", "action_check_neighbors_member")["found"] == []
    for layer, url in (("l1", l1), ("l2", l2)):
        act(MEMBER, f"start_{layer}", f"action_start_{layer}_member")
        assert listens(url)
        act(MEMBER, f"stop_{layer}", f"action_stop_{layer}_member")
        assert is_free(url)
    act(MEMBER, "start_l1", "action_start_l1_member")
    creates(client, broker, "/cmbs/message/", elsewhere(README / "post_message_l1.json", tmp_path, sockets), MESSAGE)
    act(MESSAGE, "send_l1", "action_send_l1_message")

    broker.ok("POST", f"{MESSAGE}?action=send_l1", {"attributes": {"wait": 10}})
    result = broker.attributes(MESSAGE, "message")["result"]
    assert result["member_description"]["id"] in MEMBER
    assert result["sockets_l1"] == [l1]
    assert broker.attributes(MEMBER, "member")["listening"] == ["l1"]


@preloaded_or_not
def test_the_calls_again_on_the_same_broker(start_broker: Start, preload: str) -> None:
    """Who runs the README twice is told, by 409, what is there already, and loses nothing."""
    broker = start_broker("--preload", preload)
    for again in (False, True):
        define(with_requests, broker)
        for collection, name in (("/cmbs/member/", "post_member"), ("/cmbs/message/", "post_message_l1")):
            answer = broker.request("POST", collection, README / f"{name}.json")
            assert answer.status_code == (409 if again else 201), answer.text
    assert broker.get("/cmbs/member/") == {"X-OCCI-Location": [broker.url + MEMBER]}
    assert broker.get(MESSAGE)["title"] == "l1 CMBS message"
