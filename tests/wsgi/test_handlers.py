"""Each handler: what it answers, with which code, in which form."""

import json
from io import BytesIO
from pathlib import Path

import pytest
from webob import Request

from pycmbs.occi import cmbs
from tests.services.world import OWN
from tests.store.faulty import Fault
from tests.wsgi.conftest import Front

EXAMPLES = Path(__file__).parents[2] / "json_examples"
README = EXAMPLES / "readme_2012"
MEMBER = f"/cmbs/member/{OWN}"
MESSAGE = "/cmbs/message/0101d860-2a9a-504f-8861-aeafd0b20101"
S = "http://example.org/stuff#"


def example(name, folder=README):
    """The bytes that the README sends."""
    return (folder / f"{name}.json").read_bytes()


def post(front, location, *entities):
    """Create entities; returns their URLs."""
    answer = front.request("POST", location, {"resources": list(entities)})
    assert answer.status_code == 201, answer.text
    return answer.json["Location"]


# The README of 2012, step by step


@pytest.mark.parametrize("broker", ["front", "empty"])
def test_the_readme_of_2012_works(request, broker):
    """Every call of the README answers as in 2012 (reference, 2), on a broker with and without definitions."""
    front = request.getfixturevalue(broker)
    steps = [
        ("POST", "/-/", "post_category_cmbs_member", 200),
        ("PUT", "/-/", "put_provider_cmbs_member", 200),
        ("POST", "/-/", "post_category_cmbs_message", 200),
        ("PUT", "/-/", "put_provider_cmbs_message", 200),
        ("POST", "/cmbs/member/", "post_member", 201),
        ("POST", f"{MEMBER}?action=start_l1", "action_start_l1_member", 200),
        ("POST", f"{MEMBER}?action=start_l2", "action_start_l2_member", 200),
        ("POST", f"{MEMBER}?action=check_neighbors", "action_check_neighbors_member", 200),
        ("POST", "/cmbs/message/", "post_message_l1", 201),
        ("POST", f"{MESSAGE}?action=send_l1", "action_send_l1_message", 200),
        ("POST", f"{MEMBER}?action=stop_l1", "action_stop_l1_member", 200),
        ("POST", f"{MEMBER}?action=stop_l2", "action_stop_l2_member", 200),
    ]
    for method, path, body, status in steps:
        answer = front.request(method, path, example(body))
        assert (path, answer.status_code) == (path, status), answer.text


# The query interface


@pytest.mark.parametrize("path", ["/-/", "/.well-known/org/ogf/occi/-/"])
def test_the_query_interface_lists_categories(front, path):
    """GFD.223 5.4.1: kinds, mixins and actions, at both addresses alike."""
    answer = front.request("GET", path)
    assert (answer.status_code, sorted(answer.json)) == (200, ["actions", "kinds", "mixins"])
    assert {"entity", "resource", "link", "member", "message"} == {one["term"] for one in answer.json["kinds"]}


@pytest.mark.parametrize("query", ["?category=member", f"?category={cmbs.MEMBER.replace('#', '%23')}"])
def test_the_query_interface_is_filtered_by_name(front, query):
    """A category is asked for by term or identifier."""
    assert [one["term"] for one in front.request("GET", "/-/" + query).json["kinds"]] == ["member"]


def test_the_query_interface_is_filtered_by_a_body(front):
    """2012 (reference, 2): partial categories in the body."""
    shown = front.request("GET", "/-/", {"kinds": [{"term": "message"}]}).json
    assert ([one["term"] for one in shown["kinds"]], shown["mixins"]) == (["message"], [])


def test_a_category_lives(front):
    """Registered, replaced, removed: each answers 200 with an empty body (reference, 2)."""
    mixin = {"term": "m", "scheme": S, "location": "/m/"}
    for method, body in (
        ("POST", {"mixins": [mixin]}),
        ("PUT", {"mixins": [mixin | {"title": "t"}]}),
        ("DELETE", {"mixins": [{"term": "m", "scheme": S}]}),
    ):
        answer = front.request(method, "/-/", body)
        assert (method, answer.status_code, answer.body) == (method, 200, b"")


@pytest.mark.parametrize(
    ("method", "body", "status"),
    [
        ("POST", {"kinds": [{"term": "member", "scheme": "http://houssem.org/cmbs#", "location": "/x/"}]}, 409),
        ("POST", {"kinds": [{"term": "x"}]}, 400),
        ("POST", {}, 400),
        ("PUT", {"kinds": [{"term": "entity", "scheme": "http://schemas.ogf.org/occi/core#"}]}, 403),
        ("PUT", {"providers": [{"Provider": {"local": ["x"]}, "OCCI_ID": cmbs.MEMBER}]}, 400),
        ("DELETE", {"kinds": [{"term": "member", "scheme": "http://houssem.org/cmbs#"}]}, 403),
        ("DELETE", {"kinds": [{"term": "x", "scheme": S}]}, 404),
        ("DELETE", {}, 400),
    ],
)
def test_a_wrong_category_has_its_code(front, method, body, status):
    """GFD.223 5.7: what is wrong with the request, what is forbidden, what conflicts."""
    assert front.request(method, "/-/", body).status_code == status


# Collections


def test_a_creation_says_where(front):
    """GFD.223 5.5.2: 201 with a Location header; 2012: the URLs in the body as well."""
    answer = front.request("POST", "/cmbs/member/", example("post_member"))
    assert (answer.status_code, answer.headers["Location"]) == (201, f"http://localhost{MEMBER}")
    assert answer.json == {"Location": [f"http://localhost{MEMBER}"]}


def test_a_collection_is_listed(front):
    """2012 (reference, 2): X-OCCI-Location with full URLs, in order of creation."""
    urls = post(front, "/cmbs/message/", {"id": "b"}, {"id": "a"})
    assert front.request("GET", "/cmbs/message/").json == {"X-OCCI-Location": urls}
    assert front.request("GET", "/").json == {"X-OCCI-Location": urls}


@pytest.mark.parametrize(
    ("query", "body", "ids"),
    [
        ("?attribute=cmbs.message.sendable&value=False", None, ["b"]),
        ("?category=l1", None, ["a"]),
        ("", {"resources": [{"attributes": {"cmbs": {"message": {"sendable": "true"}}}}]}, ["a"]),
        ("", {}, ["a", "b"]),
    ],
)
def test_a_collection_is_filtered(front, query, body, ids):
    """By query or by body; {} filters nothing."""
    post(
        front,
        "/cmbs/message/",
        {"id": "a", "mixins": [cmbs.mixin("l1")]},
        {"id": "b", "attributes": {cmbs.SENDABLE: False}},
    )
    listed = front.request("GET", "/cmbs/message/" + query, body).json["X-OCCI-Location"]
    assert [url.rpartition("/")[2] for url in listed] == ids


@pytest.mark.parametrize(
    "query", ["?filter=x", "?attribute=a", "?value=a", "?attribute=a&attribute=b", "?attribute=cmbs.message.no&value=1"]
)
def test_a_mistyped_filter_is_refused(front, query):
    """A filter that is not understood must not select everything."""
    assert front.request("GET", "/cmbs/message/" + query).status_code == 400
    assert front.request("DELETE", "/cmbs/message/" + query).status_code == 400


def test_a_mixin_is_given_and_taken_by_its_location(front):
    """GFD.223 5.5.3, 5.5.5: POST associates, DELETE dissociates, and the entity stays."""
    front.request("POST", "/-/", {"mixins": [{"term": "m", "scheme": S, "location": "/m/"}]})
    urls = post(front, "/cmbs/message/", {"id": "a"})
    for method, members in (("POST", urls), ("DELETE", [])):
        assert front.request(method, "/m/", {"X-OCCI-Location": urls}).status_code == 200
        assert front.request("GET", "/m/").json == {"X-OCCI-Location": members}
    assert front.request("GET", "/cmbs/message/a").status_code == 200


def test_a_collection_is_deleted(front):
    """GFD.223 5.5.6: DELETE removes the entities."""
    post(front, "/cmbs/message/", {}, {})
    assert front.request("DELETE", "/cmbs/message/").status_code == 200
    assert front.request("GET", "/cmbs/message/").json == {"X-OCCI-Location": []}


def test_an_action_on_a_collection_reports_by_url(front):
    """GFD.223 5.5.4: the action is performed on each of its entities."""
    (url,) = post(
        front, "/cmbs/message/", {"id": "a", "attributes": {cmbs.CONTENT: {"operation": "list", "target": "/m/"}}}
    )
    assert front.request("POST", "/cmbs/message/?action=nonsense", {}).status_code == 400
    post(front, "/cmbs/member/", json.loads(example("post_member"))["resources"][0])
    answer = front.request("POST", "/cmbs/member/?action=start_l1", {})
    assert answer.json == {f"http://localhost{MEMBER}": {"answered": "start"}}
    assert url.endswith("/a")


# Entities


def test_an_entity_is_read(front):
    """2012 (reference, 2): the bare object, nested, with the actions that apply."""
    front.request("POST", "/cmbs/member/", example("post_member"))
    shown = front.request("GET", MEMBER).json
    assert (shown["id"], shown["attributes"]["cmbs"]["member"]["l31_socket"]) == (OWN, "tcp://127.0.0.1:5031")
    assert f"http://localhost{MEMBER}?action=start_l1" in [one["href"] for one in shown["actions"]]


def test_what_was_read_can_be_put_back(front):
    """A client may PUT what it got, with actions and all, and changes nothing."""
    front.request("POST", "/cmbs/member/", example("post_member"))
    shown = front.request("GET", MEMBER)
    answer = front.request("PUT", MEMBER, shown.body)
    assert (answer.status_code, answer.json) == (200, shown.json)


def test_put_creates_and_replaces(front):
    """GFD.223 5.6.2: 201 with Location for a new entity, 200 with the whole for an old one."""
    first, second = (front.request("PUT", "/cmbs/message/x", {"title": title}) for title in ("one", "two"))
    assert (first.status_code, first.headers["Location"]) == (201, "http://localhost/cmbs/message/x")
    assert (second.status_code, second.json["title"]) == (200, "two")


def test_post_changes_a_part(front):
    """GFD.223 5.6.3: 200 with the whole."""
    post(front, "/cmbs/message/", {"id": "x", "title": "t"})
    answer = front.request("POST", "/cmbs/message/x", {"summary": "s"})
    assert (answer.status_code, answer.json["title"], answer.json["summary"]) == (200, "t", "s")


def test_delete_removes(front):
    """GFD.223 5.6.4: 200 once, 404 afterwards."""
    post(front, "/cmbs/message/", {"id": "x"})
    assert [front.request("DELETE", "/cmbs/message/x").status_code for _ in range(2)] == [200, 404]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/cmbs/message/none", None, 404),
        ("GET", "/nowhere/", None, 404),
        ("GET", "/nowhere", None, 404),
        ("POST", "/cmbs/message/none?action=send_l1", {}, 404),
        ("POST", "/cmbs/message/none?action=send_l1", b"junk", 404),
        ("POST", "/cmbs/message/none", {"title": "x"}, 404),
        ("POST", "/nowhere/", {"title": "x"}, 404),
        ("PUT", "/cmbs/message/x", {"resources": [{}, {}]}, 400),
        ("PUT", "/cmbs/message/x", {"id": "y"}, 400),
        ("POST", "/cmbs/message/", b"{", 400),
        ("POST", "/cmbs/message/", b"", 400),
        ("POST", "/cmbs/message/", {"resources": [{"id": "a"}, {"id": "a"}]}, 409),
        ("POST", "/cmbs/message/", {"attributes": {"cmbs.message.state": "sent"}}, 403),
        ("POST", "/cmbs/message/", {"title": "x" * 70_000}, 413),
        ("PUT", "/cmbs/message/", {}, 405),
        ("PATCH", "/cmbs/message/x", {}, 405),
        ("TRACE", "/-/", None, 405),
        ("GET", "/a%00b", None, 400),
        ("GET", "/%ff", None, 400),
        ("GET", "/cmbs/message/?attribute=%ff&value=1", None, 400),
    ],
)
def test_a_wrong_request_has_its_code(front, method, path, body, status):
    """GFD.223 5.7, RFC 9110 15: the code says what kind of wrong it is, and the body says the rest."""
    answer = front.request(method, path, body)
    assert (answer.status_code, answer.json["error"]["status"]) == (status, status)
    assert answer.json["error"]["message"]


def test_a_head_is_a_get_without_a_body(front):
    """RFC 9110 9.3.2."""
    answer = front.request("HEAD", "/-/", Content_Type=None)
    assert (answer.status_code, answer.body) == (200, b"")
    assert answer.content_length == front.request("GET", "/-/").content_length


def test_a_method_that_is_not_there_says_which_are(front):
    """RFC 9110 15.5.6: 405 has an Allow header."""
    assert front.request("PATCH", "/cmbs/message/x").headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, POST, PUT"


# Negotiation


@pytest.mark.parametrize(
    ("accept", "type"),
    [
        (None, "text/plain"),
        ("*/*", "text/plain"),
        ("application/json", "application/json"),
        ("application/json;q=0.1, application/occi+json", "application/occi+json"),
        ("text/html, */*;q=0.1", "text/plain"),
    ],
)
def test_the_answer_has_a_type_the_client_accepts(front, accept, type):
    """RFC 9110 12.5.1."""
    assert front.request("GET", "/-/", Accept=accept, Content_Type=None).content_type == type


@pytest.mark.parametrize("accept", ["image/png", "text/html", "application/occi+json;q=0"])
def test_what_cannot_be_written_is_not_acceptable(front, accept):
    """406, with the types there are."""
    answer = front.request("GET", "/-/", Accept=accept)
    assert answer.status_code == 406
    assert "application/occi+json" in answer.json["error"]["supported"]


@pytest.mark.parametrize("type", ["application/json", "application/occi+json; charset=utf-8", "APPLICATION/OCCI+JSON"])
def test_a_body_may_have_these_types(front, type):
    """Parameters and case of a media type do not matter here."""
    assert front.request("POST", "/cmbs/message/", {"title": "x"}, Content_Type=type).status_code == 201


@pytest.mark.parametrize("type", ["image/png", "text/html", "application/x-www-form-urlencoded"])
def test_a_body_of_another_type_is_refused(front, type):
    """RFC 9110 15.5.16: 415, and the hint shows the option for curl."""
    answer = front.request("POST", "/cmbs/message/", {"title": "x"}, Content_Type=type)
    assert answer.status_code == 415
    assert "-H" in answer.json["error"]["hint"]


def test_an_empty_body_needs_no_type(front):
    """An action without a body is an action."""
    front.request("POST", "/cmbs/member/", example("post_member"))
    assert front.request("POST", f"{MEMBER}?action=start_l1", b"", Content_Type="image/png").status_code == 200


# What every answer has


@pytest.mark.parametrize("path", ["/-/", "/nowhere"])
def test_every_answer_says_who_speaks(front, path):
    """GFD.223 5.8: the Server header names OCCI/1.2, and OCCI/1.1 for the suites of 2011."""
    server = front.request("GET", path).headers["Server"]
    assert "OCCI/1.2" in server
    assert "OCCI/1.1" in server


@pytest.mark.parametrize("host", ["broker.example.org:8090", "[::1]:8090", "127.8.9.10", "LOCALHOST:1"])
def test_urls_are_as_the_client_reaches_them(host):
    """URLs have the authority of the request, where that is one of the broker's."""
    answer = Front(names="broker.example.org").request("PUT", "/cmbs/message/x", {"title": "x"}, Host=host)
    assert answer.headers["Location"] == f"http://{host}/cmbs/message/x"


@pytest.mark.parametrize(
    ("fault", "request_"), [("find", ("GET", "/cmbs/message/")), ("write", ("PUT", "/cmbs/message/x", {"title": "x"}))]
)
def test_a_store_that_is_gone_is_a_503(front, fault, request_):
    """503 with Retry-After, and full service when it is back."""
    front.store.arm(Fault.UNAVAILABLE, fault)
    answer = front.request(*request_)
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "store-unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    front.store.disarm()
    assert front.request(*request_).status_code < 300


def test_a_fault_is_a_500_without_a_trace(front, monkeypatch, caplog):
    """A traceback never leaves the process; the log has it."""

    def fail(*_arguments):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(front.broker.entities, "listed", fail)
    answer = front.request("GET", "/cmbs/message/")
    assert (answer.status_code, answer.json["error"]["code"]) == (500, "error")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert "secret" in caplog.text


@pytest.mark.parametrize("length", ["x", "-1", "1.5", "9" * 20, "9" * 5000])
def test_a_wrong_length_is_an_error_answer(front, length):
    """A Content-Length that is invalid, or too large, is answered before anything is read."""
    environ = {"CONTENT_LENGTH": length}
    request = Request.blank("/cmbs/message/", method="POST", environ=environ | {"wsgi.input": BytesIO(b"{}")})
    assert request.get_response(front.application).status_code in (400, 413)


def test_a_body_that_breaks_off_is_refused(front):
    """Half a body is not acted on."""
    environ = {"CONTENT_LENGTH": "50", "wsgi.input": BytesIO(b'{"title": "x"}'), "CONTENT_TYPE": "application/json"}
    assert (
        Request.blank("/cmbs/message/", method="POST", environ=environ).get_response(front.application).status_code
        == 400
    )
    assert front.request("GET", "/cmbs/message/").json == {"X-OCCI-Location": []}


def test_every_route_is_documented(front):
    """Walking the URL map finds every handler, and each says what it does."""
    routes = front.application._routes
    for table in (routes.query, routes.collection, routes.entity):
        assert {"GET", "POST", "DELETE"} <= set(table)
        assert [method for method, handler in table.items() if not handler.__doc__] == []


def test_two_local_members_in_one_request_are_refused(front):
    """A broker is one member, also when both come at once; the answer names nothing internal."""
    member = {"kind": cmbs.MEMBER}
    answer = front.request("POST", "/cmbs/member/", {"resources": [member | {"id": "a"}, member | {"id": "b"}]})
    assert answer.status_code == 409
    assert "claim" not in answer.text


def test_what_the_query_interface_shows_can_be_posted(front):
    """A client may send back every category it was shown: nothing changes."""
    shown = front.request("GET", "/-/")
    assert front.request("POST", "/-/", shown.json).status_code == 200
    assert front.request("GET", "/-/").json == shown.json


@pytest.mark.parametrize(
    "ends", [{"source": "/a/1", "target": "/b/2"}, {"source": {"location": "/a/1"}, "target": {"location": "/b/2"}}]
)
def test_a_link_keeps_its_ends(front, ends):
    """GFD.226 4.5.2, and the form of 2012: source and target survive."""
    kind = "http://schemas.ogf.org/occi/core#link"
    front.request("POST", "/-/", {"kinds": [{"term": "a", "scheme": S, "location": "/a/"}]})
    post(front, "/a/", {"id": "1"})
    (url,) = post(front, "/link/", {"kind": kind, "id": "l", **ends})
    attributes = front.request("GET", "/link/l").json["attributes"]
    assert url.endswith("/link/l")
    assert (attributes["occi"]["core"]["source"], attributes["occi"]["core"]["target"]) == ("/a/1", "/b/2")


def test_a_forgotten_mixin_is_named(front):
    """An attribute that a mixin would bring is refused with the mixin's name."""
    entity = {"kind": cmbs.MESSAGE, "attributes": {cmbs.RECEIVER: "tcp://127.0.0.1:1"}}
    answer = front.request("POST", "/cmbs/message/", {"resources": [entity]})
    assert answer.status_code == 400
    assert "http://houssem.org/cmbs#l1" in answer.json["error"]["hint"]


def test_a_mistyped_category_is_not_an_empty_list(front):
    """GET /-/?category= of what is not there is a 404."""
    assert front.request("GET", "/-/?category=membre").status_code == 404


def test_a_typo_in_an_objects_name_is_named_whole(front):
    """The name that is wrong is told, not what is inside its value."""
    entity = {"kind": cmbs.MESSAGE, "attributes": {"cmbs": {"message": {"mesage_content": {"event": "x"}}}}}
    error = front.request("POST", "/cmbs/message/", {"resources": [entity]}).json["error"]
    assert error["attribute"] == "cmbs.message.mesage_content"
    assert "cmbs.message.message_content" in error["hint"]


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/-", "/-/"),
        ("/.well-known/org/ogf/occi/-", "occi/-/"),
        ("/cmbs/member", "/cmbs/member/"),
        ("/cmbs/members/", "/cmbs/member/"),
    ],
)
def test_a_path_that_is_nearly_right_is_put_right(front, path, meant):
    """A 404 says what was probably meant."""
    answer = front.request("GET", path)
    assert answer.status_code == 404
    assert meant in answer.json["error"]["hint"]


def test_deleting_a_collection_says_how_many_went(front):
    """DELETE of a collection tells the number."""
    post(front, "/cmbs/message/", {"kind": cmbs.MESSAGE}, {"kind": cmbs.MESSAGE})
    assert front.request("DELETE", "/cmbs/message/").json == {"deleted": 2}
