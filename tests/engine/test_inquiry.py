"""Questions to other members: answered once, and overdue after their own time, whatever else is open."""

import threading
import time

import pytest

from pycmbs.engine.inquiry import Inquiries
from pycmbs.errors import RemoteError
from pycmbs.transport.envelope import ALIVE, PROBE, Envelope, decode, reply_to
from tests.harness import wait_until

QUESTION = Envelope(PROBE, "", "me", {})


class Wire:
    """Notes what is sent and whose connection is given up."""

    def __init__(self):
        self.sent, self.forgotten = [], []

    def send(self, url, data):
        self.sent.append(decode(data))

    def forget(self, url):
        self.forgotten.append(url)


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def inquiries(wire):
    found = Inquiries(wire)
    found.start()
    yield found
    found.close()


def test_a_shorter_question_is_overdue_first(inquiries, wire):
    """A question that is put later, and has less time, is overdue after its own time."""
    late = []
    inquiries.begin("memory:slow", QUESTION, 30, lambda _answer: late.append("slow"))
    begin = time.monotonic()
    with pytest.raises(RemoteError, match=r"no answer from memory:quick within 0\.2 s"):
        inquiries.ask("memory:quick", QUESTION, 0.2)
    assert time.monotonic() - begin < 5
    assert (late, wire.forgotten) == ([], ["memory:quick"])


def test_time_runs_after_a_pause_too(inquiries, wire):
    """After a time with nothing open, the next question is overdue like the first."""
    for number in range(2):
        with pytest.raises(RemoteError):
            inquiries.ask(f"memory:{number}", QUESTION, 0.05)
    assert len({one.id for one in wire.sent}) == 2


def test_an_answer_is_taken_once(inquiries, wire):
    """The first answer to a question counts; a second, and one that nobody asked for, are nobody's."""
    answers = []
    asking = threading.Thread(target=lambda: answers.append(inquiries.ask("memory:x", QUESTION, 10)))
    asking.start()
    wait_until(lambda: wire.sent, 5, "the question")
    answer = reply_to(wire.sent[0], ALIVE, "x", {})
    assert (inquiries.answered(answer), inquiries.answered(answer)) == (True, False)
    asking.join(5)
    assert answers == [answer]
