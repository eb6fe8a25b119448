"""Peers with keys for the tests of closed federations, and the commands that bring members together."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import zmq
from nacl.public import PrivateKey
from nacl.signing import SigningKey

from pycmbs.services.federation.keys import KeyPair, OwnKeys, own_keys, text_of
from pycmbs.services.federation.statements import DEPARTURE, DESCRIPTION, certify, state
from tests.harness import Broker, wait_until
from tests.peer import Peer, version

MEMBER = "http://houssem.org/cmbs#member"


def command(home: Path, *words: str, code: int = 0) -> str:
    """What a command of ``pycmbs`` says about a home; it must end with this code."""
    done = subprocess.run(
        [sys.executable, "-m", "pycmbs", *words, "--home", str(home)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


class Keyed:
    """A raw peer with keys, which some broker may trust."""

    def __init__(self) -> None:
        self.id = str(uuid.uuid4())
        self.key = PrivateKey.generate()
        self.identity = SigningKey.generate()
        self.certificates: list[dict[str, str]] = []

    @property
    def line(self) -> str:
        """What has a broker trust it."""
        return f"{self.id} {text_of(bytes(self.identity.verify_key))} {text_of(bytes(self.key.public_key))}\n"

    @property
    def keys(self) -> OwnKeys:
        """What it signs with."""
        identity = KeyPair(bytes(self.identity), bytes(self.identity.verify_key))
        return OwnKeys(identity, KeyPair(bytes(self.key), bytes(self.key.public_key)))

    def introduction(self, id: str = "", **changed: Any) -> dict[str, Any]:
        """What a greeting says, signed. ``changed``: of the greeting, or ``version``, ``instance``, ``curve`` and ``socket`` of
        what is signed."""
        signed = {
            "version": changed.pop("version", version()),
            "instance": changed.pop("instance", uuid.uuid4().hex),
            "curve": changed.pop("curve", [text_of(bytes(self.key.public_key))]),
        }
        url = changed.pop("socket", "tcp://127.0.0.1:9")
        attributes = {"cmbs.member.l1_socket": url, "cmbs.member.l2_socket": url}
        description = {"kind": MEMBER, "id": id or self.id, "attributes": attributes}
        told = {"sockets_l1": [], "known": {}, "left": {}, "certificates": self.certificates}
        return {
            **state(self.keys, DESCRIPTION, id or self.id, {**signed, "description": description}),
            **told,
            **changed,
        }

    def farewell(self, id: str = "", **said: Any) -> dict[str, str]:
        """That it, or another one, has left, signed by it."""
        return state(self.keys, DEPARTURE, id or self.id, {"version": version(), "instance": "", **said})

    def vouched(self, issuer: OwnKeys, *, may_invite: bool = False, seconds: float = 3600.0) -> Self:
        """The same with a certificate by an issuer."""
        until = time.time() + seconds
        own = certify(issuer, self.id, bytes(self.identity.verify_key), until, may_invite=may_invite)
        self.certificates.append(own)
        return self

    def ask(
        self, broker: Broker, type: str, body: dict[str, Any], *, seconds: float = 10, **said: Any
    ) -> dict[str, Any] | None:
        """What the broker answers on L1; None for nothing within ``seconds``."""
        return ask(broker, type, body, self.key, self.id, seconds=seconds, **said)

    @contextlib.contextmanager
    def connected(self, broker: Broker) -> Iterator[Callable[[], bool]]:
        """A connection that stays open; what it yields tells whether the broker answers a probe over it."""
        with dialled(broker, self.key) as dealer:

            def answered() -> bool:
                dealer.send(json.dumps({"cmbs": 1, "type": "probe", "id": "x", "from": self.id, "body": {}}).encode())
                return bool(dealer.poll(500) and dealer.recv())

            yield answered


class Door(Peer):
    """A member made of a raw socket that has keys and listens, to whoever comes."""

    def __init__(self) -> None:
        self.keyed = Keyed()
        super().__init__(self.keyed.id)

    def secure(self, router: zmq.Socket[bytes]) -> None:
        """With its key."""
        router.curve_server, router.curve_secretkey = True, bytes(self.keyed.key)

    def introduction(self, **changed: Any) -> dict[str, Any]:
        """Signed."""
        return {**self.keyed.introduction(socket=self.url), **changed}


@contextlib.contextmanager
def dialled(broker: Broker, key: PrivateKey | None) -> Iterator[zmq.Socket[bytes]]:
    """A socket that is connected to the broker's L1, with a key or without."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        if key is not None:
            dealer.curve_secretkey, dealer.curve_publickey = bytes(key), bytes(key.public_key)
            dealer.curve_serverkey = own_keys(broker.home).curve.public
        dealer.connect(broker.socket("l1"))
        yield dealer


def ask(
    broker: Broker,
    type: str,
    body: dict[str, Any],
    key: PrivateKey | None,
    sender: str,
    *,
    seconds: float = 10,
    **said: Any,
) -> dict[str, Any] | None:
    """The same, with a key or without."""
    with dialled(broker, key) as dealer:
        envelope = {"cmbs": 1, "type": type, "id": uuid.uuid4().hex, "from": sender, "body": body, **said}
        dealer.send(json.dumps(envelope).encode())
        return json.loads(dealer.recv()) if dealer.poll(int(seconds * 1000)) else None


def trusting(broker: Broker, *peers: Keyed) -> None:
    """Have a broker trust these as well."""
    with (broker.home / "members").open("a") as file:
        file.writelines(peer.line for peer in peers)
    for peer in peers:
        wait_until(lambda peer=peer: peer.ask(broker, "probe", {}, seconds=1), 10, "it is let in")


def refusal(answer: dict[str, Any] | None) -> tuple[str, str, bool]:
    assert answer is not None
    return answer["type"], answer["body"]["error"]["code"], answer["body"]["final"]


FORGED = ("refusal", "forged-sender", True)
