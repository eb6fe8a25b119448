"""``?watch``: what changes is told to who may read it, once, in order, from where he says."""

import json
import threading

import pytest

from tests.services.world import add_member

V12 = "application/occi+json;version=1.2"
MESSAGES = "/cmbs/message/"


def poll(front, path, since=None, wait=0, **headers):
    """The events of one long poll, and where to go on."""
    mark = "&" if "?" in path else "?"
    query = f"{path}{mark}watch&wait={wait}" + (f"&since={since}" if since is not None else "")
    answer = front.request("GET", query, Accept="application/json", **headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.json["events"], answer.json["cursor"]


def post(front, content="x", topics=()):
    """A message; its path."""
    entity = {"attributes": {"cmbs.message.message_content": content}}
    if topics:
        entity["mixins"] = ["http://houssem.org/cmbs#l32"]
        entity["attributes"]["cmbs.message.topics"] = list(topics)
    answer = front.request("POST", MESSAGES, {"resources": [entity]}, Accept=V12)
    assert answer.status_code == 201, answer.text
    return answer.headers["Location"].removeprefix("http://localhost")


def told(events):
    """What happened to what."""
    return [(one["event"], one["data"]["location"]) for one in events]


def test_a_watcher_is_told_what_is_made_changed_and_deleted(front):
    """An entity that is there whole, in the flat form; of one that is gone what it was, and where."""
    _, cursor = poll(front, MESSAGES)
    path = post(front)
    events, cursor = poll(front, MESSAGES, cursor)
    assert told(events) == [("created", path)]
    assert events[0]["data"]["attributes"]["cmbs.message.message_content"] == "x"
    assert front.request("POST", path, {"attributes": {"cmbs.message.message_content": "y"}}).status_code == 200
    events, cursor = poll(front, MESSAGES, cursor)
    assert told(events) == [("changed", path)]
    front.request("DELETE", path)
    events, cursor = poll(front, MESSAGES, cursor)
    assert told(events) == [("deleted", path)]
    assert events[0]["data"]["kind"] == "http://houssem.org/cmbs#message"
    assert poll(front, MESSAGES, cursor) == ([], cursor)


def test_a_collection_is_told_of_its_own_and_the_root_of_all(front):
    """As a listing has them: by location, category and attribute; what is gone, too."""
    _, cursor = poll(front, "/")
    path = post(front, topics=["a.b", "c"])
    member = add_member(front.broker, "rome", 1).path
    assert told(poll(front, "/", cursor)[0]) == [("created", path), ("created", member)]
    assert told(poll(front, "/cmbs/member/", cursor)[0]) == [("created", member)]
    assert told(poll(front, "/?category=member", cursor)[0]) == [("created", member)]
    by_topic = MESSAGES + "?attribute=cmbs.message.topics&value="
    assert told(poll(front, by_topic + "c", cursor)[0]) == [("created", path)]
    assert poll(front, by_topic + "d", cursor)[0] == []
    assert told(poll(front, path, cursor)[0]) == [("created", path)]
    front.request("DELETE", path)
    for where, number in ((MESSAGES, 1), (by_topic + "c", 1), (by_topic + "d", 0), ("/cmbs/member/", 1)):
        assert len(poll(front, where, cursor)[0]) == number


def test_all_that_is_there_is_told_from_the_beginning_in_pages(front):
    """A page has a hundred changes, and each event a cursor of its own to go on from."""
    paths = [post(front) for _ in range(130)]
    first, cursor = poll(front, MESSAGES, 0)
    rest, _ = poll(front, MESSAGES, cursor)
    assert [one["data"]["location"] for one in first + rest] == paths
    again, _ = poll(front, MESSAGES, first[-2]["cursor"])
    assert [one["data"]["location"] for one in again] == paths[len(first) - 1 :]


def test_a_long_poll_waits_for_what_changes(front):
    """It is answered at once, and once."""
    _, cursor = poll(front, MESSAGES)
    found = []
    waiting = threading.Thread(target=lambda: found.extend(poll(front, MESSAGES, cursor, wait=20)[0]))
    waiting.start()
    path = post(front)
    waiting.join(15)
    assert told(found) == [("created", path)]


def test_events_are_streamed_with_ids_to_go_on_from(front):
    """An event has a name, an id and one line of data; a client that comes back says the last id."""
    request = {"Accept": "text/event-stream"}
    head = front.request("HEAD", MESSAGES + "?watch", **request)
    assert head.headers["Content-Type"] == "text/event-stream"
    assert head.headers["X-Accel-Buffering"] == "no"
    path = post(front)
    stream = stream_of(front, MESSAGES + "?watch&since=0")
    begin, event = next(stream), next(stream)
    assert begin.startswith(b"retry: ")
    assert event.startswith(b"event: created\nid: ")
    lines = event.decode().splitlines()
    assert json.loads(lines[2].removeprefix("data: "))["location"] == path
    stream.close()


def stream_of(front, path, **headers):
    """The pieces of a stream."""
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path.partition("?")[0],
        "QUERY_STRING": path.partition("?")[2],
        "HTTP_HOST": "localhost",
        "HTTP_ACCEPT": "text/event-stream",
        "HTTP_ACCEPT_ENCODING": "gzip",
        "REMOTE_ADDR": "127.0.0.1",
        **headers,
    }
    answer = front.application(environ, lambda *_: None)
    try:
        yield from answer
    finally:
        answer.close()


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?watch&since=yesterday", 400),
        ("?watch&wait=61", 400),
        ("?watch&page=1&number=2", 400),
        ("?watch=perhaps", 400),
        ("?wait=2", 400),
        ("?watch&action=send_l2", 400),
        ("?watch&attribute=cmbs.message.nothing&value=1", 400),
    ],
)
def test_what_cannot_be_watched_is_refused(front, query, code):
    """With a sentence, and not by silence."""
    answer = front.request("GET", MESSAGES + query)
    assert answer.status_code == code, answer.text


def test_only_reading_watches(front):
    """A deletion of what is watched would be one of everything."""
    path = post(front)
    for method, where in (("DELETE", MESSAGES), ("DELETE", path), ("PUT", path), ("POST", MESSAGES)):
        assert front.request(method, where + "?watch", {}).status_code == 400
    assert front.request("GET", "/-/?watch").status_code == 400
    assert front.request("GET", "/nowhere/?watch").status_code == 404
    assert front.request("GET", path + "x?watch").status_code == 404
    assert front.request("GET", MESSAGES + "?watch", Accept="text/plain").status_code == 406


def test_a_cursor_of_another_history_is_said_to_be_one(front):
    """Nothing is skipped in silence: all that is there is told again."""
    path = post(front)
    answer = front.request("GET", MESSAGES + "?watch&since=99999", Accept="application/json")
    assert answer.json["gap"] == {"asked": "99999", "reason": "rewound"}
    assert told(answer.json["events"]) == [("created", path)]
