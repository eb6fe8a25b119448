"""What a broker does towards many members: the fan-out of layer 2, and the memory that undelivered messages take."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.broker import Broker, free_port
from bench.load import Figures, Orders, Request, run
from bench.reference import receivers
from bench.scenarios import message

_AT_ONCE = 100
_SETTLED = 0.5
"""MB by which the engine may grow within a second and still count as settled."""


def fan_out(
    broker: Broker, members: list[dict[str, str]], *, messages: int, connections: int, seconds: float, repeats: int
) -> tuple[list[Figures], list[Figures]]:
    """Messages to all of these members, each sent and waited for until all have acknowledged it; and the reference. Of
    ``messages``, new ones for each run, there should be enough that none is sent twice."""
    broker.become()
    introduce(broker, ((one["id"], one["url"]) for one in members))
    body = json.dumps({"attributes": {"wait": 10}})
    taken = []
    for _ in range(repeats):
        requests = [
            Request("POST", f"{path}?action=send_l2", body, contains=f'"delivered":{len(members)}')
            for path in _created(broker, messages)
        ]
        ours = run(Orders(broker.port, connections, seconds, requests))
        taken.append((ours, receivers.ask(members, seconds, connections)))
    return [one for one, _ in taken], [two for _, two in taken]


def undelivered(broker: Broker, home: Path, *, members: int, messages: int) -> tuple[float, float]:
    """Resident memory of the engine, in MB, before and after so many messages were sent to so many members that are down."""
    broker.become()
    introduce_down(broker, members)
    before = _settled(home)
    for number in send_to_all(broker, messages):
        if number != members:
            raise RuntimeError(f"a message went to {number} of {members} members")
    return before, _settled(home)


def introduce_down(broker: Broker, number: int) -> None:
    """Have a broker know so many members that do not answer."""
    introduce(broker, ((str(uuid.uuid4()), f"tcp://127.0.0.1:{free_port()}") for _ in range(number)))


def send_to_all(broker: Broker, messages: int) -> list[int]:
    """Send so many messages to all members; to how many each went."""
    paths = _created(broker, messages)
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda path: broker.post(f"{path}?action=send_l2", {}), paths)
        return [answer["recipients"] for answer in answers]


def resident(home: Path) -> float:
    """Resident memory of all processes of a broker, in MB. What they share counts for each."""
    state = json.loads((home / "run" / "broker.json").read_text())
    return sum(_resident(pid) for pid in [state["pid"], *(one["pid"] for one in state["children"])])


def introduce(broker: Broker, members: Iterable[tuple[str, str]], topics: Sequence[str] = ()) -> None:
    """Have a broker know members, by id and socket, as a client describes them."""
    sockets = ("l1_socket", "l2_socket", "l32_socket")
    entities = []
    for id, url in members:
        attributes = {"local": "false", "topics": list(topics), **dict.fromkeys(sockets, url)}
        entities.append(
            {"kind": "http://houssem.org/cmbs#member", "id": id, "attributes": {"cmbs": {"member": attributes}}}
        )
    broker.post("/cmbs/member/", {"resources": entities}, 201)


def newcomer(broker: Broker, neighbor: str) -> str:
    """Give a broker a member that knows this neighbour's socket, and that listens nowhere yet; its path."""
    sockets = {"l1_socket": f"tcp://127.0.0.1:{free_port()}", "neighbors_socket": [neighbor]}
    attributes = {"cmbs": {"member": {"state": "active", **sockets}}}
    entity = {"kind": "http://houssem.org/cmbs#member", "attributes": attributes}
    created = broker.post("/cmbs/member/", {"resources": [entity]}, 201)
    return "/cmbs/member/" + str(created["Location"][0]).rpartition("/")[2]


def neighbors(broker: Broker, member: str) -> int:
    """Have a member look for its neighbours; how many answered it."""
    return len(broker.post(f"{member}?action=check_neighbors", {})["found"])


def _created(broker: Broker, number: int) -> list[str]:
    entity = message("l2")
    sizes = [_AT_ONCE] * (number // _AT_ONCE) + [number % _AT_ONCE]
    return [path for size in sizes if size for path in broker.create([entity] * size)]


def _settled(home: Path) -> float:
    """The engine's resident memory once it grows no more."""
    children = json.loads((home / "run" / "broker.json").read_text())["children"]
    pid = next(one["pid"] for one in children if one["role"] == "engine")
    last = 0.0
    while (now := _resident(pid)) > last + _SETTLED:
        last = now
        time.sleep(3)
    return now


def _resident(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024
