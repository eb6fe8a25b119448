"""The client library against real brokers."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pycmbs.client import AsyncClient, Client, Failed, NotSettled, verbs
from pycmbs.errors import CmbsError, Forbidden, NotFound, Unavailable, UnknownEntity
from tests.documents.markdown import fences
from tests.harness import ROOT, Broker, wait_until


@pytest.fixture(scope="module")
def pair(start_shared: Callable[..., Broker]) -> tuple[Broker, Broker]:
    """Two members that know each other; the second is interested in what happens in the network, and lists messages for all."""
    first = start_shared("--workers", "1", "--retry-first", "0.2")
    second = start_shared("--workers", "1", "--allow", "* list message", "--retry-first", "0.2")
    first.become("l1", "l2", "l31", "l32", "l4")
    second.become("l1", "l2", "l31", "l32", "l4", neighbors=[first.socket("l1")], topics=["network.>"])
    second.ok("POST", f"/cmbs/member/{second.member}?action=check_neighbors", {})
    wait_until(lambda: first.known() == second.known() == {first.member, second.member})
    return first, second


@pytest.fixture
def client(pair: tuple[Broker, Broker]) -> Iterator[Client]:
    """One of the first."""
    with Client(home=pair[0].home) as client:
        yield client


def test_what_is_published_is_delivered_to_who_is_interested(pair: tuple[Broker, Broker], client: Client) -> None:
    """And the ledger says why; the content is the same there."""
    content = {"event": "link-down", "é": [1, 2.5, None, "\n'"]}
    sent = client.publish("network.link", content, wait=10)
    (row,) = sent.ledger
    assert (sent.state, sent.layer, sent.delivered, sent.settled) == ("delivered", "l32", True, True)
    assert (row.member, row.state) == (pair[1].member, "delivered")
    assert "network.link by network.>" in row.why
    with Client(pair[1].url) as other:
        received = other.message(sent.id)
    assert (received.content, received.state, received.origin) == (content, "received", pair[0].member)


def test_to_some_to_one_and_to_all(pair: tuple[Broker, Broker], client: Client) -> None:
    """L4, L3.1 and L2; and what is for no one says so."""
    second = pair[1].member
    assert client.publish("network.link", 1, to=[second], wait=10).layer == "l4"
    assert client.send([second], 1, wait=10).delivered
    assert client.send_all("x", wait=10).delivered
    nobody = client.publish("storage.disk", 1, wait=10)
    assert (nobody.state, list(nobody.recipients)) == ("failed", [])
    assert "no recipient" in nobody.reason


def test_a_dry_run_stores_nothing(pair: tuple[Broker, Broker], client: Client) -> None:
    """It says who would get it."""
    before = len(client.messages(number=1000))
    plan = client.dry_run(topics=["network.a"], to=[pair[1].member, "nobody"])
    assert [one.member for one in plan.recipients] == [pair[1].member]
    assert plan.unknown == ["nobody"]
    assert len(client.messages(number=1000)) == before


def test_a_request_returns_what_the_member_said(pair: tuple[Broker, Broker], client: Client) -> None:
    """Or raises its error."""
    done = client.request(pair[1].member, "list", "/cmbs/message/", wait=20)
    assert done.member == pair[1].member
    assert all(one.startswith("/cmbs/message/") for one in done.result["locations"])
    with pytest.raises(Forbidden):
        client.request(pair[1].member, "delete", "/cmbs/member/x", wait=20)
    with pytest.raises(Failed, match="no member of that name"):
        client.request("nobody", "list", "/")


def test_members_and_a_ping(pair: tuple[Broker, Broker], client: Client) -> None:
    """The own one first; a ping takes the path of messages and leaves none."""
    first, second = client.members()
    assert (first.id, first.own, second.id) == (pair[0].member, True, pair[1].member)
    assert list(second.topics) == ["network.>"]
    before = len(client.messages(number=1000))
    sent, milliseconds = client.ping(pair[1].member, wait=10)
    assert sent.delivered
    assert milliseconds > 0
    assert len(client.messages(number=1000)) == before
    with pytest.raises(NotFound):
        client.ping("nobody")
    with pytest.raises(UnknownEntity):
        client.member("nobody")


def test_subscribe_adds_and_keeps(client: Client) -> None:
    """Twice is once."""
    assert client.subscribe("a.>", "b") == ["a.>", "b"]
    assert client.subscribe("b", "c") == ["a.>", "b", "c"]


def test_the_same_with_await(pair: tuple[Broker, Broker]) -> None:
    """Several at a time."""

    async def ask() -> None:
        async with AsyncClient(pair[0].url) as client:
            sent = await asyncio.gather(*(client.publish("network.x", number, wait=20) for number in range(5)))
            assert [one.state for one in sent] == ["delivered"] * 5
            assert (await client.message(sent[3].id)).content == 3
            await client.remove(sent[3].id)
            with pytest.raises(UnknownEntity):
                await client.message(sent[3].id)
            assert (await client.resend(sent[2].id, wait=20)).delivered

    asyncio.run(ask())


def test_both_clients_can_do_the_same() -> None:
    """With the same arguments."""
    public = {name for name in vars(Client) if not name.startswith("_")}
    assert public == {name for name in vars(AsyncClient) if not name.startswith("_")}
    for name in public:
        arguments = [getattr(one, name).__code__.co_varnames for one in (Client, AsyncClient)]
        assert (
            arguments[0][: getattr(Client, name).__code__.co_argcount]
            == (arguments[1][: getattr(AsyncClient, name).__code__.co_argcount])
        )


def test_what_is_not_done_in_time_is_said_so(start_broker: Callable[..., Broker]) -> None:
    """A member that is away: the message waits, and the request is not settled; when the broker is away, nothing is."""
    first, second = start_broker("--workers", "1"), start_broker("--workers", "1")
    first.become("l1", "l31")
    second.become("l1", "l31", neighbors=[first.socket("l1")])
    second.ok("POST", f"/cmbs/member/{second.member}?action=check_neighbors", {})
    wait_until(lambda: second.member in first.known())
    second.kill()
    with Client(first.url) as client:
        assert client.send([second.member], 1, wait=0.2).state == "sending"
        with pytest.raises(CmbsError) as caught:
            client.request(second.member, "list", "/", wait=0.2)
        assert isinstance(caught.value, NotSettled | Failed)
        assert caught.value.sent.ledger[0].member == second.member
        first.kill()
        with pytest.raises(Unavailable):
            client.members()


def test_the_documented_lines_run(pair: tuple[Broker, Broker], tmp_path: Path) -> None:
    """As they are printed, with the names of members that are there."""
    lines = "\n".join(fences(ROOT / "doc" / "client.md", "python"))
    script = tmp_path / "script.py"
    script.write_text(re.sub(r'"rome"', f'"{pair[1].member}"', lines), encoding="utf-8")
    environ = {"PYCMBS_URL": pair[0].url, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, script], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{pair[1].member} delivered it is interested in network.link by network.>" in done.stdout


def test_importing_it_is_cheap() -> None:
    """What needs no connection loads no HTTP library, and nothing loads asyncio that does not await."""
    code = "import sys, pycmbs.client as c; c.find; print('httpx2' in sys.modules); c.Client; print('asyncio' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.split() == ["False", "False"]


def test_what_changes_is_watched_over_a_restart(start_shared: Callable[..., Broker]) -> None:
    """Each change once, in order, also those that happened while the broker was away and the client waited for it."""
    broker = start_shared("--workers", "1")
    broker.become("l2")
    with Client(broker.url) as client, Client(broker.url) as other:
        changes = client.watch("/cmbs/message/", since=client.run(verbs.cursor("/cmbs/message/")))
        made = [other.send_all(number).id for number in range(3)]
        seen = [next(changes) for _ in range(3)]
        assert [(one.event, one.id) for one in seen] == [("created", id) for id in made]
        assert seen[0].attributes["cmbs.message.message_content"] == 0
        broker.stop()
        broker.port = int(broker.url.rpartition(":")[2])
        broker.start()
        other.remove(made[0])
        assert next(one for one in changes if one.event == "deleted").id == made[0]


def test_what_is_watched_must_be_there(client: Client) -> None:
    """An error of the broker, and a broker that never was there, are raised."""
    with pytest.raises(NotFound):
        next(client.watch("/cmbs/message/nothing"))
    with pytest.raises(Unavailable), Client("http://127.0.0.1:9") as nobody:
        next(nobody.watch("/"))


def test_an_async_client_watches_too(pair: tuple[Broker, Broker]) -> None:
    """With the same names."""

    async def main() -> str:
        async with AsyncClient(pair[0].url) as broker:
            since = await broker.run(verbs.cursor("/"))
            sent = await broker.send_all("x")
            async for change in broker.watch("/", since=since, filters={"occi.core.id": sent.id}):
                return change.id if change.event == "created" and change.id == sent.id else ""
        return ""

    assert asyncio.run(main())
