"""What roles and rules allow over HTTP, and that no one is told of what he may not see."""

import base64

import pytest

from pycmbs.occi import cmbs
from pycmbs.services.access import files, passwords
from pycmbs.services.access.rulebook import RULES
from pycmbs.services.access.users import ROLES, USERS, User, line_of
from pycmbs.wsgi import streams
from tests.services.world import add_member, add_own
from tests.wsgi.conftest import JSON, V12, Front
from tests.wsgi.test_watching import stream_of

HASH = passwords.hashed("pass")
MESSAGES, MEMBERS = cmbs.MESSAGE_LOCATION, cmbs.MEMBER_LOCATION
NAMES = (*ROLES, "publisher2", "nobody")


def who(name):
    """The field by which someone says who he is."""
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:pass".encode()).decode()}


def body(id=None, **attributes):
    """A message."""
    return {
        "kind": cmbs.MESSAGE,
        **({"id": id} if id else {}),
        "mixins": [cmbs.mixin(attributes.pop("layer", "l2"))],
        "attributes": {"cmbs": {"message": {"message_content": "secret words", **attributes}}},
    }


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A broker with a member, a user for each role, and messages of two publishers and an admin."""
    monkeypatch.setattr(files, "LOOK_SECONDS", 0)
    monkeypatch.setattr(passwords, "verified", lambda _kept, given: given == "pass")
    front = Front(home=tmp_path)
    front.broker.access._rules = front.broker.access._rules.__class__(tmp_path, ())
    front.home = tmp_path
    add_own(front.broker)
    add_member(front.broker, "other", 1)
    with files.changing(tmp_path / USERS) as replace:
        users = [User(name, HASH, roles=(name.rstrip("2"),) if name != "nobody" else ()) for name in NAMES]
        replace("".join(line_of(one) + "\n" for one in users))
    for name, id in (("publisher", "of-p"), ("publisher2", "of-p2"), ("admin", "of-a")):
        assert front.request("POST", MESSAGES, body(id), **who(name)).status_code == 201
    return front


def rule(house, *lines):
    """Have these rules."""
    with files.changing(house.home / RULES) as replace:
        replace("".join(line + "\n" for line in lines))


REFUSED = [
    ("POST", MESSAGES, body()),
    ("POST", MEMBERS, {}),
    ("POST", "/-/", {}),
    ("PUT", "/-/", {}),
    ("DELETE", "/-/", {}),
    ("PUT", MESSAGES + "new", body()),
    ("PUT", MESSAGES + "of-a", body()),
    ("POST", MESSAGES + "of-a", body()),
    ("POST", MESSAGES + "of-a?action=send_l2", {}),
    ("POST", MESSAGES + "?action=send_l2", {}),
    ("POST", MEMBERS + "other?action=start_l1", {}),
    ("DELETE", MESSAGES + "of-a", None),
    ("DELETE", MESSAGES, None),
    ("DELETE", "/", None),
    ("POST", "/nowhere/", b"{"),
]


@pytest.mark.parametrize("role", ["reader", "consumer", "nobody"])
@pytest.mark.parametrize(("method", "path", "sent"), REFUSED)
def test_who_may_only_look_changes_nothing(house, role, method, path, sent):
    """Each change is a 403, whatever it says, and names nothing."""
    before = house.request("GET", MESSAGES, **who("admin")).text
    answer = house.request(method, path, sent, **who(role))
    assert answer.status_code == 403
    assert answer.json["error"]["code"] == "forbidden"
    assert "of-p" not in answer.text
    assert house.request("GET", MESSAGES, **who("admin")).text == before


def seen(house, name, path, **fields):
    """The ids of the messages that a list has for someone."""
    answer = house.request("GET", path, **who(name), **fields)
    assert answer.status_code == 200
    return {url.rpartition("/")[2] for url in _urls(answer.json) if MESSAGES in url}


def _urls(document):
    if isinstance(document, str):
        return [document]
    if isinstance(document, list):
        return [url for one in document for url in _urls(one)]
    if isinstance(document, dict):
        if "kind" in document and "id" in document:
            return [MESSAGES + document["id"]] if document["kind"] == cmbs.MESSAGE else []
        return [url for one in document.values() for url in _urls(one)]
    return []


ALL = {"of-p", "of-p2", "of-a"}


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("admin", ALL),
        ("operator", ALL),
        ("reader", ALL),
        ("publisher", {"of-p"}),
        ("publisher2", {"of-p2"}),
    ],
)
@pytest.mark.parametrize("accept", [JSON, V12])
def test_lists_have_what_one_may_see(house, name, there, accept):
    """At the kind's location, at the root, filtered, and by pages, each with a place of its own."""
    fields = {"Accept": accept}
    assert seen(house, name, MESSAGES, **fields) == there
    assert seen(house, name, "/", **fields) == there
    assert seen(house, name, "/cmbs/", **fields) == there
    assert seen(house, name, f"{MESSAGES}?attribute=cmbs.message.origin&value=996ad860-2a9a-504f-8861-aeafd0b2ae29",
                **fields) == there  # fmt: skip
    assert seen(house, name, f"{MESSAGES}?attribute=occi.core.id&value=of-a", **fields) == there & {"of-a"}
    pages = [seen(house, name, f"{MESSAGES}?page={page}&number=1", **fields) for page in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [1] * len(there) + [0] * (4 - len(there))
    assert set().union(*pages) == there


def test_what_one_may_not_see_is_not_there(house):
    """The answer is the same, to the byte, as where nothing is."""
    for method, path, sent in [
        ("GET", MESSAGES + "{}", None),
        ("HEAD", MESSAGES + "{}", None),
        ("POST", MESSAGES + "{}?action=send_l2", {}),
        ("POST", MESSAGES + "{}", b"{"),
        ("DELETE", MESSAGES + "{}", None),
        ("POST", MESSAGES + "{}?action=execute", {}),
    ]:
        there, absent = (
            house.request(method, path.format(id), sent, X_Request_Id="1", If_Match='"x"', **who("publisher"))
            for id in ("of-a", "gone")
        )
        assert there.status_code == absent.status_code in (403, 404, 400)
        assert there.text.replace("of-a", "gone") == absent.text
        assert set(there.headers) == set(absent.headers)


def test_an_id_that_is_taken_tells_no_more(house):
    """Who makes what someone else has made is refused, and not told what is there."""
    for answer in (
        house.request("POST", MESSAGES, body("of-a"), **who("publisher")),
        house.request("PUT", MESSAGES + "of-a", body(), **who("publisher")),
    ):
        assert answer.status_code == 403
        assert "exists" not in answer.text
    assert house.request("GET", MESSAGES + "of-a", **who("admin")).json["attributes"]["cmbs"]["message"]


def test_an_operator_does_not_delete_everything(house):
    """DELETE / needs a rule of its own."""
    assert house.request("DELETE", "/", **who("operator")).status_code == 403
    rule(house, "role:operator delete /")
    assert house.request("DELETE", "/", **who("operator")).status_code == 200


def test_an_admin_may_all(house):
    """Also what no rule is about but his."""
    assert house.request("DELETE", "/", **who("admin")).status_code == 200


def test_an_operator_leaves_what_the_broker_ships(house):
    """He defines kinds and takes them away, but for the broker's own."""
    kind = {"kinds": [{"term": "box", "scheme": "http://example.org/i#", "title": "", "location": "/box/",
                       "related": ["http://schemas.ogf.org/occi/core#resource"], "attributes": {}, "actions": []}]}  # fmt: skip
    mine = house.request("POST", "/-/", kind, **who("operator"))
    assert mine.status_code == 200, mine.text
    assert house.request("PUT", "/-/", kind, **who("operator")).status_code == 200
    assert house.request("DELETE", "/-/", kind, **who("operator")).status_code == 200
    shipped = house.request("GET", "/-/", **who("admin")).json
    for method in ("PUT", "DELETE"):
        assert house.request(method, "/-/", shipped, **who("operator")).status_code == 403


def test_a_publisher_sends_what_he_made_where_he_may(house):
    """A rule about him narrows what his role may: under these topics, and to no one else."""
    assert house.request("POST", MESSAGES + "of-p?action=send_l2", {}, **who("publisher")).status_code == 200
    rule(house, "user:publisher send message topic=network.>")
    for id, layer, given, status in [
        ("a", "l32", {"topics": ["network.x"]}, 200),
        ("b", "l32", {"topics": ["hr.x"]}, 403),
        ("c", "l32", {"topics": ["network.x", "hr.x"]}, 403),
        ("d", "l2", {}, 403),
        ("e", "l31", {"providers": ["other"]}, 403),
        ("f", "l4", {"providers": ["other"], "topics": ["network.x"]}, 200),
    ]:
        assert house.request("POST", MESSAGES, body(id, layer=layer, **given), **who("publisher")).status_code == 201
        answer = house.request("POST", f"{MESSAGES}{id}?action=send_{layer}", {}, **who("publisher"))
        assert answer.status_code == status, (id, answer.text)
        dry = {"attributes": {"dry_run": True}}
        answer = house.request("POST", f"{MESSAGES}{id}?action=send_{layer}", dry, **who("publisher"))
        assert answer.status_code == status


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ("user:publisher send message to=other", 200),
        ("user:publisher send message to=another", 403),
        ("user:publisher send message own to=other layer=l31", 200),
        ("user:publisher send message layer=l3.2", 403),
        ("user:publisher act:send_l31 message", 200),
        ("role:publisher send message to=another", 403),
        ("role:publisher send message to=another; * send message", 200),
        ("oops; user:publisher send message topic=; user:publisher read member", 200),
        ("user:publisher read message", 200),
    ],
)
def test_conditions_of_a_send(house, lines, status):
    """Layer, recipients and whose it is; a line that is not a rule allows nothing and takes nothing."""
    house.request("POST", MESSAGES, body("m", layer="l31", providers=["other"]), **who("publisher"))
    rule(house, *lines.split("; "))
    answer = house.request("POST", f"{MESSAGES}m?action=send_l31", {}, **who("publisher"))
    assert answer.status_code == status, answer.text


def test_a_consumer_reads_what_was_received(house):
    """And nothing that was made here."""
    got = house.broker.entities.stored(MESSAGES + "of-a")

    def change(message):
        message.attributes[cmbs.STATE] = cmbs.RECEIVED
        return True

    house.broker.entities.modify(got.path, change)
    assert seen(house, "consumer", MESSAGES) == {"of-a"}
    assert house.request("GET", MESSAGES + "of-a", **who("consumer")).status_code == 200
    assert house.request("GET", MESSAGES + "of-p", **who("consumer")).status_code == 404
    assert house.request("GET", MEMBERS, **who("consumer")).status_code == 403


def test_a_handler_needs_a_rule(house):
    """Who may execute does not therefore call handlers; the engine is not asked."""
    house.request("POST", MESSAGES, body("x", message_content={"operation": "reboot"}), **who("operator"))
    house.engine.calls.clear()
    path = MESSAGES + "x?action=execute"
    answer = house.request("POST", path, {}, **who("operator"))
    assert answer.status_code == 403
    assert house.engine.calls == []
    rule(house, "user:operator reboot")
    house.engine.answer = {"result": 1}
    assert house.request("POST", path, {}, **who("operator")).status_code == 200
    assert [name for name, _ in house.engine.calls] == ["handle"]


def test_execution_lends_nobody_rights(house):
    """What was received is done if its sender may, and who has it executed may, too."""
    content = {"operation": "delete", "target": MESSAGES + "of-p"}
    house.request("POST", MESSAGES, body("x", message_content=content), **who("admin"))

    def change(message):
        message.attributes |= {cmbs.STATE: cmbs.RECEIVED, cmbs.ORIGIN: "other"}
        return True

    house.broker.entities.modify(MESSAGES + "x", change)
    path = MESSAGES + "x?action=execute"
    assert house.request("POST", path, {}, **who("admin")).status_code in (403, 404)  # its sender may not
    rule(house, "other delete message", "user:publisher act:execute message; user:publisher read message")
    assert house.request("POST", path, {}, **who("publisher")).status_code == 403  # he may not
    assert house.request("GET", MESSAGES + "of-p", **who("admin")).status_code == 200
    assert house.request("POST", path, {}, **who("admin")).status_code == 200
    assert house.request("GET", MESSAGES + "of-p", **who("admin")).status_code == 404


def watched(house, name, path="/", since=0):
    """The paths that someone is told of."""
    answer = house.request("GET", f"{path}?watch&since={since}", Accept="application/json", **who(name))
    assert answer.status_code == 200, answer.text
    return {one["data"]["location"] for one in answer.json["events"]}, answer.json["cursor"]


def test_who_watches_is_told_of_what_he_may_read_only(house):
    """What is made, and what is gone, by its kind and by whose it is."""
    mine, cursor = watched(house, "publisher")
    assert (MESSAGES + "of-p" in mine, MESSAGES + "of-a" in mine) == (True, False)
    assert {MESSAGES + "of-p", MESSAGES + "of-a"} <= watched(house, "admin")[0]
    for id in ("of-p", "of-a"):
        assert house.request("DELETE", MESSAGES + id, **who("admin")).status_code == 200
    assert watched(house, "publisher", since=cursor)[0] == {MESSAGES + "of-p"}
    assert watched(house, "admin", since=cursor)[0] == {MESSAGES + "of-p", MESSAGES + "of-a"}
    assert house.request("GET", MESSAGES + "of-p2?watch", **who("publisher")).status_code == 404
    assert house.request("GET", MESSAGES + "?watch", **who("nobody")).status_code == 403
    assert house.request("GET", "/?watch").status_code == 401


def test_a_stream_ends_with_the_right_to_it(house, monkeypatch):
    """Who asks is asked again: a user who is removed, or may not look any more, is told nothing more."""
    monkeypatch.setattr(streams, "ASK_SECONDS", 0)
    stream = stream_of(house, MESSAGES + "?watch&since=0", HTTP_AUTHORIZATION=who("reader")["Authorization"])
    assert next(stream).startswith(b"retry")
    assert b"of-a" in next(stream)
    house.request("POST", MESSAGES, body("later"), **who("admin"))
    with files.changing(house.home / USERS) as replace:
        replace("".join(line_of(User(name, HASH, roles=("admin",))) + "\n" for name in ("admin",)))
    assert list(stream) == []
