"""The sender's second half without a broker: what was accepted goes to a receiver, and is noted as delivered once acknowledged.

Takes datagrams, sends each to the receiver (``bench.reference.echo server FOLDER``, which has it on disk before it answers),
writes that it was acknowledged, and then answers. What is ready at the same time shares a commit.
``python -m bench.reference.relay FOLDER RECEIVER`` prints where it takes them.
"""

from __future__ import annotations

import contextlib
import sys

import zmq

from bench.reference.echo import Disk


def main() -> None:
    """Run until killed."""
    folder, receiver = sys.argv[1:]
    disk = Disk(folder, "relay")
    context = zmq.Context.instance()
    source, towards = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    for one in (source, towards):
        one.sndhwm = one.rcvhwm = 0
    towards.connect(receiver)
    port = source.bind_to_random_port("tcp://127.0.0.1")
    print(f"tcp://127.0.0.1:{port}", flush=True)
    poller = zmq.Poller()
    for one in (source, towards):
        poller.register(one, zmq.POLLIN)
    while True:
        ready = dict(poller.poll())
        if source in ready:
            for frames in _all(source):
                towards.send_multipart(frames)
        if towards in ready:
            answers = _all(towards)
            disk.write([id for _, id, _ in answers])
            for peer, id, _ in answers:
                source.send_multipart([peer, id])


def _all(one: zmq.Socket[bytes]) -> list[list[bytes]]:
    found = []
    with contextlib.suppress(zmq.Again):
        while len(found) < 256:
            found.append(one.recv_multipart(zmq.NOBLOCK))
    return found


if __name__ == "__main__":
    main()
