"""The parts of a run: each measures something beside its references, prints it, and keeps it among the results."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from bench import access, durable, federation, peers, reference, tls
from bench.broker import running
from bench.load import Figures, Orders, Request, run
from bench.reference import echo, receivers
from bench.report import rows_table, table
from bench.results import Results, in_turn, row
from bench.scenarios import GREETING, http_scenarios, message, posted, round_trips

CONNECTIONS = 32
PEER_CONNECTIONS = 8
_CLIENTS = (1, 8)


@dataclass(frozen=True)
class Plan:
    """How long to measure."""

    workers: tuple[int, ...]
    repeats: int
    seconds: float
    messages: int
    """How many messages are made for a run; more than are sent in it, since one that is sent again costs more."""
    members: tuple[int, ...]
    """To how many members messages fan out."""
    undelivered: tuple[int, int]
    """How many members are down, and how many messages each of them does not get."""
    writers: tuple[int, ...]
    """How many write at a time, to each store."""

    def describe(self) -> str:
        """In a sentence."""
        return f"each is the median of {self.repeats} runs of {self.seconds:g} s, taken in turn with its reference's"


@dataclass(frozen=True)
class Bench:
    """One run: its plan, where it is at home, and what came of it."""

    plan: Plan
    home: Path
    results: Results

    def load(self, port: int, request: Request, connections: int) -> Callable[[], Figures]:
        """A run of one request."""
        return lambda: run(Orders(port, connections, self.plan.seconds, [request]))


def http(bench: Bench) -> None:
    """Requests to a broker beside bare eventlet WSGI with as many workers, and the stack without a broker beside the same."""
    for workers in bench.plan.workers:
        folder = bench.home / f"webob-{workers}"
        folder.mkdir()
        with (
            running(bench.home / f"http-{workers}", workers) as broker,
            reference.running("hello", number=workers) as bare,
            reference.running("webob_sqlite", str(folder), number=workers) as stack,
        ):
            broker.become()
            scenarios = http_scenarios(broker)
            runs = {"": bench.load(int(bare), GREETING, CONNECTIONS)}
            runs |= {
                one.name: bench.load(broker.port, one.request, one.connections or CONNECTIONS) for one in scenarios
            }
            without = "the same POST without a broker"
            runs[without] = bench.load(int(stack), posted(), CONNECTIONS)
            taken = in_turn(bench.plan.repeats, runs)
        rows = [row(one.name, taken[one.name], taken[""], one.messages) for one in scenarios]
        rows.append(row(without, taken[without], taken[""]))
        bench.results.add(f"http-{workers}", rows)
        print(
            table(
                f"HTTP, {_workers(workers)}, {CONNECTIONS} connections; bare: eventlet's WSGI server saying hello with as many",
                *rows_table(rows, "messages", reference="bare"),
            ),
            flush=True,
        )


def logins(bench: Bench) -> None:
    """The durable POST by who is known, beside the same where no one is asked: in processor time, since it is about little. And
    what those who are not known yet cost others, in time."""
    home = bench.home / "logins"
    home.mkdir()
    with access.logins(home, bench.plan.seconds) as (known, beside):
        taken, felt = in_turn(bench.plan.repeats, known), in_turn(bench.plan.repeats, beside)
    rows = [row(name, taken[name], taken[""]) for name in taken if name]
    feeling = [row(name, felt[name], felt[""]) for name in felt if name]
    bench.results.add("logins", rows)
    bench.results.add("logins-beside", feeling)
    memory_home = bench.home / "logins-memory"
    memory_home.mkdir()
    bench.results.values |= {
        "cold_login_ms": access.cold(bench.plan.seconds) * 1e3,
        "cold_jwt_us": access.cold_jwt(home) * 1e6,
        **access.resident(memory_home),
    }
    heads, cells = rows_table(rows, "messages", reference="nobody is asked")
    print(table("Users: answers in a second of a front's processor", heads, cells), flush=True)
    heads, cells = rows_table(feeling, "messages", reference="alone")
    print(table("Users: what others feel of logins that are not known", heads, cells), flush=True)
    values = bench.results.values
    print(
        f"of a processor, what is not known yet: a password {values['cold_login_ms']:.0f} ms, a JWT by RS256 "
        f"{values['cold_jwt_us']:.0f} us\nresident memory more with users: a front {values['users_front_mb']:.1f} MB, "
        f"an engine {values['users_engine_mb']:.1f} MB; with JWT a front {values['jwt_front_mb']:.1f} MB",
        flush=True,
    )


def beside_peers(bench: Bench) -> None:
    """The durable POST of one message beside what others accept with the same number of clients, one other at a time."""
    rows = []
    for peer in peers.all_of_them():
        if missing := peer.missing():
            bench.results.skipped.append(f"{peer.NAME}: {missing} is not installed")
            print(f"skipped: {bench.results.skipped[-1]}", flush=True)
            continue
        folder = bench.home / peer.__name__.rpartition(".")[2]
        folder.mkdir()
        with running(folder / "ours", 1) as broker, peer.serving(folder) as measure:
            broker.become()
            peers.warm(measure, PEER_CONNECTIONS)
            runs: dict[str, Callable[[], Figures]] = {
                "ours": bench.load(broker.port, posted(), PEER_CONNECTIONS),
                "theirs": lambda: measure(PEER_CONNECTIONS, bench.plan.seconds),
            }
            taken = in_turn(bench.plan.repeats, runs)
        rows.append(row(f"{peer.NAME}: {peer.WHAT}", taken["ours"], taken["theirs"]))
    bench.results.add("peers", rows)
    if rows:
        print(
            table(
                f"durable POST of one message, 1 worker, {PEER_CONNECTIONS} connections, beside others",
                *rows_table(rows, "", reference="the other"),
            ),
            flush=True,
        )


def l1(bench: Bench) -> None:
    """Round trips over L1 beside those of bare ZeroMQ, without and with the commits that they need."""
    plan, workers = bench.plan, bench.plan.workers[-1]
    folder = bench.home / "echo"
    folder.mkdir()
    rows, kept_rows = [], []
    with (
        running(bench.home / "one", workers) as one,
        running(bench.home / "two", workers) as two,
        echo.serving() as bare,
        echo.serving(folder) as kept,
    ):
        one.become()
        two.become()

        def round_trip(clients: int) -> Figures:
            return run(Orders(one.port, clients, plan.seconds, round_trips(one, two, plan.messages)))

        for clients in _CLIENTS:
            taken = in_turn(
                plan.repeats,
                {
                    "ours": lambda clients=clients: round_trip(clients),
                    "bare": lambda clients=clients: echo.run(bare, clients, plan.seconds),
                    "kept": lambda clients=clients: echo.run(kept, clients, plan.seconds, folder),
                },
            )
            name = f"L1 round trip, {clients} client{'s' * (clients > 1)}"
            rows.append(row(name, taken["ours"], taken["bare"]))
            kept_rows.append(row(f"{name}, durable", taken["ours"], taken["kept"]))
    bench.results.add("l1", rows)
    bench.results.add("l1-durable", kept_rows)
    print(
        table(
            f"L1 between two brokers of {_workers(workers)} each: POST ?action=send_l1 until the answer is stored, durable on "
            "both sides;\nbare: ZeroMQ request and reply between two processes; durable: with three commits each",
            *rows_table([*rows, *kept_rows], "", reference="bare"),
        ),
        flush=True,
    )


def l32(bench: Bench) -> None:
    """Messages created, sent by topic to one other broker and settled, beside the same steps without brokers."""
    plan, home = bench.plan, bench.home / "deliveries"
    home.mkdir()
    with (
        running(home / "sender", 1) as sender,
        running(home / "receiver", 1) as receiver,
        echo.serving(home) as bare,
        reference.running("relay", str(home), bare) as relay,
        reference.running("webob_sqlite", str(home), relay) as stack,
    ):
        sender.become()
        receiver.become("bench")
        federation.introduce(sender, [(receiver.member, receiver.socket_l32)], topics=["bench"])
        pairs = plan.messages * 4

        def ours() -> Figures:
            return _half(run(Orders(sender.port, CONNECTIONS, plan.seconds, _created_and_sent(pairs), apart=True)))

        def without() -> Figures:
            return _half(run(Orders(int(stack), CONNECTIONS, plan.seconds, _created_and_sent(pairs, "/"), apart=True)))

        taken = in_turn(plan.repeats, {"ours": ours, "without": without})
    rows = [row("L3.2 to one broker", taken["ours"], taken["without"])]
    bench.results.add("l32", rows)
    print(
        table(
            f"deliveries by L3.2 to one other broker, 1 worker each, {CONNECTIONS} connections: POST, then POST "
            "?action=send_l32 until acknowledged, durable at\nboth ends; bare: the same steps and commits without brokers",
            *rows_table(rows, "", reference="bare"),
        ),
        flush=True,
    )


def _created_and_sent(number: int, where: str = "/cmbs/message/") -> list[Request]:
    """A message's creation and its sending, and the next one's. The ids are new each time."""
    wait = json.dumps({"attributes": {"wait": 10}})
    requests = []
    for _ in range(number):
        document = {**message("l32", topics=["bench"]), "id": str(uuid.uuid4())}
        requests += [
            Request("POST", where, json.dumps(document), 201, document["id"]),
            Request("POST", f"/cmbs/message/{document['id']}?action=send_l32", wait, contains='"delivered"'),
        ]
    return requests


def _half(figures: Figures) -> Figures:
    """Of two requests a delivery."""
    return replace(figures, rate=figures.rate / 2)


def l2(bench: Bench) -> None:
    """Messages to many members beside the same datagrams and acknowledgements without a broker."""
    plan, rows = bench.plan, []
    for number in plan.members:
        with receivers.serving(number) as members, running(bench.home / f"l2-{number}", 1) as broker:
            ours, theirs = federation.fan_out(
                broker,
                members,
                messages=plan.messages,
                connections=PEER_CONNECTIONS,
                seconds=plan.seconds * 2,
                repeats=plan.repeats,
            )
        rows.append(row(f"L2 to {number} members", ours, theirs, number))
    bench.results.add("l2", rows)
    print(
        table(
            f"L2 from a broker of 1 worker to simulated members, {PEER_CONNECTIONS} connections: POST ?action=send_l2 until "
            "all have acknowledged,\ndurable at the sender; bare: the same datagrams and acknowledgements, nothing stored",
            *rows_table(rows, "deliveries", reference="bare"),
        ),
        flush=True,
    )


def memory(bench: Bench) -> None:
    """Resident memory: of an idle broker, and of its engine with undelivered messages."""
    members, messages = bench.plan.undelivered
    home = bench.home / "memory"
    with running(home, 1) as broker:
        broker.answer(Request("GET", "/-/?category=message"))
        idle = federation.resident(home)
        before, after = federation.undelivered(broker, home, members=members, messages=messages)
    bench.results.values |= {
        "idle_mb": idle, "undelivered": members * messages, "undelivered_before_mb": before, "undelivered_after_mb": after,
    }  # fmt: skip
    rows = [
        ["idle, all processes, 1 worker", "", f"{idle:.0f} MB", ""],
        [
            f"engine, {members * messages:,} undelivered",
            f"{before:.0f} MB",
            f"{after:.0f} MB",
            f"{after - before:.0f} MB",
        ],
    ]
    print(
        table(
            f"resident memory; undelivered: {messages:,} messages to {members} members that are down",
            ["", "before", "after", "more"],
            rows,
        ),
        flush=True,
    )


def over_tls(bench: Bench) -> None:
    """What TLS costs a front, in time of its processor."""
    home = bench.home / "tls"
    home.mkdir()
    rows = []
    with tls.runs(home, bench.plan.seconds) as kinds:
        for runs in kinds:
            taken = in_turn(bench.plan.repeats, runs)
            rows += [row(name, taken[name], taken[""]) for name in runs if name]
    bench.results.add("tls", rows)
    new = rows[-1]
    bench.results.values["handshake_ms"] = (1 / new.ours.rate - 1 / new.reference.rate) * 1e3
    print(
        table(
            f"answers in a second of the front's processor, {tls.CONNECTIONS} connections that are kept, or one after the "
            "other; plain: without TLS",
            *rows_table(rows, "", reference="plain"),
        ),
        flush=True,
    )
    print(f"a handshake: {bench.results.values['handshake_ms']:.2f} ms of a front's processor", flush=True)


def stores(bench: Bench) -> None:
    """Durable writes on both stores, through a broker and without; by themselves, since each is the other's reference."""
    taken = durable.measured(bench.home, bench.plan.seconds * 2, bench.plan.writers)
    print(durable.shown(*taken), flush=True)


def _workers(number: int) -> str:
    return f"{number} worker{'s' * (number > 1)}"
