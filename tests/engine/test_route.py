"""Routes: the window, the order, the pauses, without a clock or a socket."""

from hypothesis import given
from hypothesis import strategies as st

from pycmbs.engine.asked import Asked
from pycmbs.engine.route import Flight, Route
from pycmbs.services.records.deliveries import SENT, Delivery


def row(number):
    """The n-th accepted row."""
    return Delivery("/m", 1, number, 99, "a", "s", "l2", 0.0, 0.0, number=number)


def filled(numbers, window=4):
    """A route that was given these rows."""
    route = Route(window, 0.5, 30.0)
    for number in numbers:
        route.admit(row(number))
    return route


def refill(route, numbers):
    """What the engine does when there is room again: read on from the cursor."""
    rows = [row(number) for number in numbers if number > route.cursor][: route.room]
    route.more = False
    for one in rows:
        route.admit(one)
    route.more = bool(rows) and rows[-1].number < max(numbers)


def send(route, now=0.0):
    """Put as many rows under way as may be; returns their numbers."""
    sent = []
    for _ in range(route.sendable(now)):
        one = route.queue.popleft()
        route.flights[str(one.number)] = Flight(one, str(one.number), now, Asked("s"))
        sent.append(one.number)
    return sent


def test_a_new_route_is_idle():
    """Nothing waits and nothing is under way."""
    assert Route(4, 0.5, 30.0).idle
    assert Route(4, 0.5, 30.0).next_event() is None


def test_rows_go_out_in_the_order_of_acceptance():
    """First accepted, first sent."""
    assert send(filled([1, 2, 3])) == [1, 2, 3]


def test_no_more_than_the_window_is_under_way():
    """The rest stays in the store, and is remembered to be there."""
    route = filled(range(1, 10))
    assert send(route) == [1, 2, 3, 4]
    assert (route.sendable(0.0), route.more, route.cursor, route.room) == (0, True, 4, 0)


def test_an_answer_makes_room():
    """Answered rows leave, and the route can be refilled from its cursor."""
    route = filled(range(1, 10))
    send(route)
    answered = route.answered("1")
    assert (answered.row, answered.tried.attempts) == (row(1), 1)
    assert route.room == 1


def test_what_is_in_the_store_is_not_overtaken():
    """While older rows wait in the store, newer ones wait there too."""
    route = filled(range(1, 10))
    send(route)
    route.answered("1")
    route.admit(row(10))
    assert not route.queue


def test_a_row_is_admitted_once():
    """What was taken into memory is not taken again."""
    route = filled([1, 2, 2, 1])
    assert [one.number for one in route.queue] == [1, 2]


def test_an_unknown_answer_is_nothing():
    """A second answer, or one to something else, settles nothing."""
    assert filled([1]).answered("x") is None


def test_after_a_failure_all_go_back_in_order():
    """Order holds over a failure: what was under way is in front of what waited."""
    route = filled([1, 2, 3, 4])
    route.answered(str(send(route)[0]))
    back = route.failed(10.0, "no answer")
    assert [one.number for one in route.queue] == [2], "the store has the rest"
    route.answered(str(send(route, 11.0)[0]))
    refill(route, [3, 4])
    assert [one.number for one in route.queue] == [3, 4]
    assert {(one.state, one.reason, one.updated) for one in back} == {(SENT, "no answer", 10.0)}
    assert not route.flights


def test_after_a_failure_there_is_a_pause():
    """The first pause is at most as long as configured and at least half of it (jitter)."""
    route = filled([1])
    send(route)
    route.failed(10.0, "x")
    assert 10.25 <= route.resume <= 10.5
    assert (route.sendable(10.2), route.sendable(10.5)) == (0, 1)
    assert route.next_event() == route.resume


def test_after_a_failure_one_row_is_tried_alone():
    """A dead member costs one datagram a pause."""
    route = filled([1, 2, 3])
    send(route)
    route.failed(0.0, "x")
    assert send(route, 1.0) == [1]
    assert route.sendable(1.0) == 0


def test_an_answer_ends_the_distress():
    """A member that answers gets the whole window again."""
    route = filled([1, 2, 3])
    send(route)
    route.failed(0.0, "x")
    route.answered(str(send(route, 1.0)[0]))
    refill(route, [2, 3])
    assert (route.failures, send(route, 1.0)) == (0, [2, 3])


def test_a_dead_recipient_costs_one_row_of_memory():
    """However much waits for it, and whatever is accepted meanwhile."""
    route = filled(range(1, 5))
    send(route)
    for failure in range(3):
        route.failed(float(failure), "x")
        route.admit(row(10 + failure))
        assert (len(route.queue) + len(route.flights), route.more, route.room) == (1, True, 0)
        send(route, 100.0)


@given(st.integers(1, 2000))
def test_pauses_double_up_to_a_bound(failures):
    """However often it fails, the pause stays between its bounds."""
    route = Route(1, 0.5, 30.0)
    for _ in range(failures):
        route.failed(0.0, "x")
    longest = min(30.0, 0.5 * 2 ** min(failures - 1, 30))
    assert longest / 2 <= route.resume <= longest


def test_the_oldest_flight_is_watched():
    """The next thing to happen is that the oldest row under way has waited long enough."""
    route = filled([1, 2])
    send(route, 5.0)
    assert route.next_event() == 7.0


def test_patience_follows_what_is_measured():
    """A member that takes long to answer is waited for three times as long, and every answer restarts the wait."""
    route = filled([1, 2])
    send(route, 5.0)
    route.round_trip = 2.5
    assert route.due == (12.5, 12.5)
    route.answered("1", 11.0)
    assert route.due == (18.5, 18.5)


def test_patience_follows_what_is_under_way():
    """What is large gets the time that a slow connection takes for it, as long as its member answers."""
    route = filled([1])
    send(route, 5.0)
    route.oldest.size = 163_840
    assert route.due == (7.0, 17.0)
    assert route.next_event() == 7.0
    route.looked = True
    assert route.next_event() == 17.0
    route.failed(20.0, "x")
    send(route, 21.0)
    route.oldest.size = 163_840
    assert route.due == (25.0, 45.0)


def test_a_row_can_be_dropped_wherever_it_is():
    """What expires leaves, under way or waiting; what is not there is no error."""
    route = filled([1])
    send(route)
    route.admit(row(2))
    flight = route.drop(row(1).id)
    assert flight is not None
    assert flight.row == row(1)
    assert route.drop(row(2).id) is None
    assert route.drop("nothing") is None
    assert route.idle


def test_stored_rows_replace_old_ones():
    """After a failure was stored, the queue holds the rows as stored, without those that are gone."""
    route = filled([1, 2, 3])
    newer = Delivery("/m", 1, 1, 99, "a", "s", "l2", 0.0, 0.0, revision="9", number=1)
    route.refresh([newer, None], {row(1).id, row(2).id})
    assert list(route.queue) == [newer, row(3)]


STEPS = st.lists(st.sampled_from(["admit", "send", "answer", "fail", "refill"]), max_size=60)


@given(STEPS, st.integers(1, 4))
def test_no_row_is_lost_or_sent_out_of_order(steps, window):
    """Whatever happens, first attempts are in order and every row is in the store, the queue, under way or answered."""
    route, accepted, done, first, now = Route(window, 0.5, 1.0), 0, set(), [], 0.0
    for step in steps:
        now += 10.0
        if step == "admit":
            accepted += 1
            route.admit(row(accepted))
        elif step == "send":
            first += [number for number in send(route, now) if number not in first]
        elif step == "answer" and route.flights:
            done.add(route.answered(next(iter(route.flights))).row.number)
        elif step == "fail":
            route.failed(now, "x")
        elif step == "refill" and route.more:
            route.more = False
            for number in range(route.cursor + 1, accepted + 1):
                if number not in done:  # settled rows are not read
                    route.admit(row(number))
    assert first == sorted(first)
    held = {one.number for one in route.queue} | {one.row.number for one in route.flights.values()} | done
    assert set(range(1, route.cursor + 1)) <= held
    assert len(route.queue) + len(route.flights) <= window
    assert route.more or route.cursor == accepted
