"""Questions to other members: answered once, and overdue after their own time, whatever else is open."""

import threading
import time

import pytest

from pycmbs.engine.requests import SILENT_SECONDS, Requests
from pycmbs.errors import RemoteError
from pycmbs.transport.envelope import ALIVE, PROBE, REFUSAL, Envelope, decode, reply_to
from tests.harness import wait_until

QUESTION = Envelope(PROBE, "", "me", {})


class Wire:
    """Notes what is sent and whose connection is given up."""

    def __init__(self):
        self.sent, self.forgotten, self.refusing = [], [], []

    def send(self, url, data, *, apart, peer):
        assert apart
        self.sent.append(decode(data))
        return True

    def refuses(self, url):
        return url in self.refusing

    def forget(self, url, *, silent=0.0):
        self.forgotten.append(url if not silent else (url, silent))


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def requests(wire):
    found = Requests(wire)
    found.start()
    yield found
    found.close()


def test_a_shorter_question_is_overdue_first(requests, wire):
    """A question that is put later, and has less time, is overdue after its own time."""
    late = []
    requests.begin("memory:slow", QUESTION, 30, lambda _answer, _waited: late.append("slow"))
    begin = time.monotonic()
    with pytest.raises(RemoteError, match=r"no answer from memory:quick within 0\.2 s"):
        requests.ask("memory:quick", QUESTION, 0.2)
    assert time.monotonic() - begin < 5
    assert (late, wire.forgotten) == ([], [("memory:quick", SILENT_SECONDS)])


def test_who_is_not_let_in_is_told_why(requests, wire):
    """Silence of one that does not know the own key says what to do about it."""
    wire.refusing.append("memory:closed")
    with pytest.raises(RemoteError, match="it does not know this member: get a line from pycmbs invite there"):
        requests.ask("memory:closed", QUESTION, 0.2)


def test_time_runs_after_a_pause_too(requests, wire):
    """After a time with nothing open, the next question is overdue like the first."""
    for number in range(2):
        with pytest.raises(RemoteError):
            requests.ask(f"memory:{number}", QUESTION, 0.05)
    assert len({one.id for one in wire.sent}) == 2


def test_an_answer_is_taken_once(requests, wire):
    """The first answer to a question counts; a second, and one that no one asked for, are no one's."""
    answers = []
    asking = threading.Thread(target=lambda: answers.append(requests.ask("memory:x", QUESTION, 10)))
    asking.start()
    wait_until(lambda: wire.sent, 5, "the question")
    answer = reply_to(wire.sent[0], ALIVE, "x", {})
    taken = [requests.answered(link, answer) for link in ("memory:y", "memory:x", "memory:x")]
    assert taken == [False, True, False]
    asking.join(5)
    assert answers == [answer]


def test_another_member_is_no_answer(requests, wire):
    """When another member answers than was asked the question has failed, says who did, and the link is given up."""
    answers = []
    requests.begin(
        "memory:x", Envelope(PROBE, "", "me", {}, to="x"), 10, lambda answer, _waited: answers.append(answer)
    )
    assert requests.answered("memory:x", reply_to(wire.sent[0], ALIVE, "y", {}))
    assert [str(one) for one in answers] == ["the member y answers at memory:x, not x"]
    assert wire.forgotten == ["memory:x"]


def test_who_passes_a_question_on_may_refuse_and_not_answer(requests, wire):
    """Of a question that another member passes on, its refusal counts, and its answer does not; the link stays."""
    for kind in (ALIVE, REFUSAL):
        answers = []
        requests.begin(
            "memory:r",
            Envelope(PROBE, "", "me", {}, to="x"),
            10,
            lambda answer, _waited, into=answers: into.append(answer),
            via="r",
        )
        body = {"error": {"code": "no-route", "message": "cannot"}} if kind == REFUSAL else {}
        assert requests.answered("memory:r", reply_to(wire.sent[-1], kind, "r", body))
        assert str(answers[0]) == ("cannot" if kind == REFUSAL else "the member r answers at memory:r, not x")
    assert wire.forgotten == []


def test_ids_cannot_be_guessed(requests, wire):
    """Who was asked one thing cannot tell from its id that of another: nothing of one is in the next."""
    for number in range(50):
        requests.begin(f"memory:{number}", QUESTION, 10, lambda _answer, _waited: None)
    ids = [one.id for one in wire.sent]
    assert len({one[:8] for one in ids}) == len({one[-8:] for one in ids}) == 50


def test_whoever_breaks_at_an_answer_harms_no_other(requests, caplog):
    """When one who asked fails at being told, the others are told all the same, now and later."""
    told = []

    def fail(_answer, _waited):
        raise ValueError("it broke")

    requests.begin("memory:a", QUESTION, 0.05, fail)
    requests.begin("memory:b", QUESTION, 0.05, lambda answer, _waited: told.append(answer))
    wait_until(lambda: told, what="the other to be told")
    with pytest.raises(RemoteError, match="no answer"):
        requests.ask("memory:c", QUESTION, 0.05)
    assert "it broke" in caplog.text


def test_looking_for_silence_goes_on_after_an_error(requests, monkeypatch, caplog):
    """When one look fails, whatever the reason, the next one is made."""
    real, failures = requests._turn, iter([ValueError("it broke")])

    def turn():
        for failure in failures:
            raise failure
        real()

    monkeypatch.setattr(requests, "_turn", turn)
    with pytest.raises(RemoteError, match="no answer"):
        requests.ask("memory:a", QUESTION, 0.05)
    wait_until(lambda: "it broke" in caplog.text, what="the log line")


def test_a_slow_way_is_waited_for(requests, wire):
    """An answer that comes too late tells how long the way takes: the next question there gets more time, one elsewhere does
    not, and when answers are quick again it is as before."""
    with pytest.raises(RemoteError):
        requests.ask("memory:far", QUESTION, 0.2)
    assert requests.answered("memory:far", reply_to(wire.sent[0], ALIVE, "x", {}))
    assert requests._patience("memory:far", 0.2) >= 0.6
    assert requests._patience("memory:near", 0.2) == 0.2
    for _ in range(10):
        requests.begin("memory:far", QUESTION, 0.2, lambda _answer, _waited: None)
        assert requests.answered("memory:far", reply_to(wire.sent[-1], ALIVE, "x", {}))
    assert requests._patience("memory:far", 0.2) == 0.2
