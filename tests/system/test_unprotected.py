"""Sockets of layers are where only this machine reaches them, unless the configuration says otherwise in so many words."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.harness import Broker, free_port, refusal

Start = Callable[..., Broker]


@pytest.mark.parametrize("url", ["tcp://192.0.2.7:5010", "tcp://[2001:db8::7]:5010"])
def test_a_layer_is_not_started_where_others_can_reach_it(start_broker: Start, url: str) -> None:
    """The 409 says how to mend it; a description may have such an address, and loopback and ipc: go on."""
    broker = start_broker("--workers", "1")
    broker.become("l2", sockets={"l1": url, "l4": f"ipc://{broker.home}/l4", "l31": f"tcp://localhost:{free_port()}"})
    path = f"/cmbs/member/{broker.member}"
    refusal(
        broker.request("POST", f"{path}?action=start_l1", {}),
        409,
        "unprotected",
        f"{url} can be reached by others, and --members is open",
    )
    for layer in ("l31", "l4"):
        broker.ok("POST", f"{path}?action=start_{layer}", {})
    change = {"attributes": {"cmbs": {"member": {"l2_socket": url}}}}
    refusal(broker.request("POST", path, change), 409, "unprotected", url)
    assert broker.attributes(path, "member")["listening"] == ["l2", "l31", "l4"]


def test_what_is_bound_counts_not_what_is_advertised(start_broker: Start) -> None:
    """A mapped port is as open as what it is mapped to; a tunnel's end on loopback is not."""
    port = free_port()
    pairs = f"tcp://192.0.2.7:1=tcp://0.0.0.0:{port}; tcp://192.0.2.7:2=tcp://127.0.0.1:{port}"
    broker = start_broker("--workers", "1", "--listen-at", pairs)
    broker.become("l2", sockets={"l1": "tcp://192.0.2.7:1", "l2": "tcp://192.0.2.7:2"})
    refusal(broker.request("POST", f"/cmbs/member/{broker.member}?action=start_l1", {}), 409, "unprotected")


@pytest.mark.parametrize("members", ["auto", "open"])
def test_without_keys_nobody_listens_anywhere(start_broker: Start, members: str) -> None:
    """Whatever was said of members: with keys the same address is refused only if this machine does not have it."""
    url = "tcp://192.0.2.7:5010"
    for said, status, code in ((members, 409, "unprotected"), ("closed", 409, "socket-unavailable")):
        broker = start_broker("--workers", "1", "--members", said)
        broker.become(sockets={"l1": url})
        error = refusal(broker.request("POST", f"/cmbs/member/{broker.member}?action=start_l1", {}), status, code, url)
        if said == members:
            assert error["message"] == f"{url} can be reached by others, and --members is open"
            assert error["hint"] == "Say --members closed, and invite the others: pycmbs invite."
