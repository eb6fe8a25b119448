"""What a request is about comes before how it says it: unbound paths, lists of types, actions on nothing, answers too large."""

import pytest

from pycmbs.occi import cmbs
from pycmbs.services.delivery import sending
from tests.services.world import add_member, add_own
from tests.store.faulty import Fault
from tests.wsgi.conftest import COMPUTE, INFRA, Front, text

S = "http://example.org/stuff#"
TWO = "text/plain,text/occi"
"""What rOCCI-cli says its bodies are, and so all that is built on it."""


# Types in a list


def test_rocci_can_write(cloud):
    """Every door that reads a body reads the first type of a list that it knows: entities, changes, links, actions, mixins,
    categories, filters."""
    link = (
        f'Category: networkinterface; scheme="{INFRA}"; class="kind"\n'
        'X-OCCI-Attribute: occi.core.source="/compute/r"\nX-OCCI-Attribute: occi.core.target="/network/network-1"\n'
    )
    start = f'Category: start; scheme="{INFRA[:-1]}/compute/action#"; class="action"\n'
    mixin = f'Category: tag; scheme="{S}"; class="mixin"; location="/tag/"\n'
    for method, path, body, status in (
        ("PUT", "/compute/r", COMPUTE, 201),
        ("POST", "/compute/", COMPUTE, 201),
        ("POST", "/compute/r", COMPUTE + "X-OCCI-Attribute: occi.compute.cores=3\n", 200),
        ("POST", "/networkinterface/", link, 201),
        ("POST", "/compute/r?action=start", start, 200),
        ("POST", "/compute/?action=start", start, 400),
        ("POST", "/-/", mixin, 200),
        ("POST", "/tag/", "X-OCCI-Location: /compute/r\n", 200),
        ("DELETE", "/tag/", "X-OCCI-Location: /compute/r\n", 200),
        ("GET", "/", COMPUTE, 200),
        ("DELETE", "/-/", mixin, 200),
    ):
        answer = text(cloud, method, path, body, Content_Type=TWO)
        assert answer.status_code == status, (method, path, answer.text)


@pytest.mark.parametrize(
    ("types", "status"),
    [
        ("text/plain;charset=utf-8, text/occi", 201),
        ("application/x-unknown, text/plain", 201),
        ("TEXT/PLAIN , application/json", 201),
        (",text/plain", 201),
        ("application/x-unknown, text/html", 415),
        (",", 415),
    ],
)
def test_the_first_type_that_is_read_counts(cloud, types, status):
    """RFC 9110 8.3 has one type; what several clients send is a list."""
    assert text(cloud, "POST", "/compute/", COMPUTE, Content_Type=types).status_code == status


# Paths where nothing is


@pytest.mark.parametrize("path", ["/nowhere/", "/nowhere/at/all/", "/nowhere", "/nowhere/x", "/cmbs/message/none"])
@pytest.mark.parametrize(
    "said",
    [
        {"body": b"junk"},
        {"body": b"{}", "Content_Type": "text/html"},
        {"body": {"kind": "nonsense"}},
        {"body": {}, "If_Match": '"1.x"'},
        {"body": {}, "query": "?nonsense=1"},
        {"body": {}, "query": "?action="},
        {"body": {}, "query": "?action=send_l1"},
        {"body": {}, "query": "?page=0&number=0"},
        {"body": {}, "query": "?attribute=x"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT"])
def test_an_unbound_path_is_a_404_first(front, method, path, said):
    """Whatever else is wrong, nothing is there; only PUT of an entity makes one there."""
    headers = {name: one for name, one in said.items() if name not in ("body", "query")}
    answer = front.request(method, path + said.get("query", ""), said["body"], **headers)
    if method == "PUT" and not path.endswith("/"):
        assert answer.status_code in (400, 412, 413, 415)
    else:
        assert answer.status_code == 404
        assert answer.json["error"]["code"] in ("unknown-location", "unknown-entity")


@pytest.mark.parametrize(("path", "status"), [("/nowhere/", 404), ("/nowhere/x", 404), ("/cmbs/", 405), ("/-/", 405)])
def test_a_method_that_is_not_there_of_a_path_that_is_not(front, path, status):
    """405 is about paths that are there."""
    assert front.request("PATCH", path).status_code == status


def test_what_is_there_keeps_its_errors(front):
    """A folder that only an entity makes a collection is one, and an entity that is there is asked for rightly or not."""
    front.request("PUT", "/far/away/x", {"kind": cmbs.MESSAGE})
    for method, path, status in (
        ("GET", "/far/?nonsense=1", 400),
        ("POST", "/far/away/", 400),
        ("PUT", "/far/away/", 405),
        ("GET", "/far/away/x?page=1&number=1", 400),
        ("PATCH", "/far/away/x", 405),
        ("POST", "/cmbs/message/?nonsense=1", 400),
    ):
        body = {} if method in ("POST", "PUT") else None
        assert front.request(method, path, body).status_code == status, (method, path)


# Actions on collections


@pytest.mark.parametrize("path", ["/cmbs/message/", "/cmbs/member/", "/cmbs/message/l1/", "/cmbs/", "/", "/resource/"])
@pytest.mark.parametrize("full", [False, True])
def test_an_action_that_nothing_has_is_refused(front, path, full):
    """An unknown action is a 400 on a collection, whether something is in it or not."""
    if full:
        add_own(front.broker)
        front.request("POST", "/cmbs/message/", {"mixins": [cmbs.mixin("l1")]})
    answer = front.request("POST", path + "?action=nosuch", {})
    assert (answer.status_code, answer.json["error"]["code"]) == (400, "invalid-request")


@pytest.mark.parametrize(
    ("path", "action", "body", "status"),
    [
        ("/cmbs/message/", "send_l1", {}, 200),
        ("/cmbs/message/", "send_l3.1", {}, 200),
        ("/cmbs/message/l1/", "send_l1", {"attributes": {"wait": 1}}, 200),
        ("/cmbs/member/", "start_l1", {}, 200),
        ("/", "start_l1", {}, 200),
        ("/cmbs/", "send_l2", {}, 200),
        ("/cmbs/member/", "send_l1", {}, 400),
        ("/cmbs/message/", "start_l1", {}, 400),
        ("/cmbs/message/", "send_l1", {"attributes": {"nonsense": 1}}, 400),
        ("/cmbs/message/", "send_l1", {"attributes": {"wait": 1000}}, 400),
        ("/cmbs/message/", "send_l1", {"action": "http://example.org/x#send_l1"}, 400),
        ("/nowhere/", "send_l1", {}, 404),
    ],
)
def test_an_empty_collection_answers_as_a_full_one_would(front, path, action, body, status):
    """An action that its entities could have is done on none of them."""
    answer = front.request("POST", f"{path}?action={action}", body)
    assert answer.status_code == status, answer.text
    if status == 200:
        assert answer.json == {}


# Answers that do not fit into headers


@pytest.fixture
def crowded(front):
    """A broker with many messages."""
    messages = [{"id": f"message-{number:04}"} for number in range(300)]
    assert front.request("POST", "/cmbs/message/", {"resources": messages}).status_code == 201
    return front


@pytest.mark.parametrize("path", ["/cmbs/message/", "/", "/cmbs/message/?page=1&number=200"])
def test_a_listing_too_large_for_headers_is_refused(crowded, path):
    """text/occi of many entities is a header that no client takes: 413, and how to ask for it."""
    answer = crowded.request("GET", path, Accept="text/occi", Content_Type=None)
    assert (answer.status_code, answer.content_type) == (413, "text/occi")
    assert "text/plain" in answer.text
    assert "page" in answer.text
    assert max(len(value) for value in answer.headers.values()) < 8192


def test_a_page_fits(crowded):
    """What is asked for in pages is answered in headers."""
    answer = crowded.request("GET", "/cmbs/message/?page=2&number=20", Accept="text/occi", Content_Type=None)
    assert answer.status_code == 200
    assert answer.headers["X-OCCI-Location"].count("http://") == 20


def test_a_large_entity_does_not_fit(front):
    """The same for one entity with much in it."""
    front.request("PUT", "/cmbs/message/x", {"attributes": {cmbs.CONTENT: "x" * 10_000}})
    assert front.request("GET", "/cmbs/message/x", Accept="text/occi", Content_Type=None).status_code == 413


def test_a_change_that_was_made_is_no_error(front):
    """What was created or changed is answered as text, where headers would be too large."""
    kind = 'Category: message; scheme="http://houssem.org/cmbs#"; class="kind"'
    large = f'{kind}\nX-OCCI-Attribute: cmbs.message.message_content="{"x" * 10_000}"\n'
    for status in (201, 200):
        answer = text(front, "PUT", "/cmbs/message/x", large, Accept="text/occi")
        assert answer.status_code == status
    assert answer.content_type == "text/plain"
    assert "x" * 10_000 in answer.text


def test_the_categories_fit(cloud):
    """Clients of text/occi begin with the categories, which have no pages: those of the infrastructure are answered."""
    answer = cloud.request("GET", "/-/", Accept="text/occi", Content_Type=None)
    assert answer.status_code == 200
    assert len(answer.headers["Category"]) > 8192


def test_an_error_fits_into_a_header(front):
    """However much an error has to tell, its header is one that clients take."""
    words = [f"word{number}" for number in range(5000)]
    kind = {"term": "k", "scheme": S, "location": "/k/", "attributes": {"a": {"pattern": "|".join(words)}}}
    assert front.request("POST", "/-/", {"kinds": [kind]}).status_code == 200
    answer = front.request("POST", "/k/", {"kind": S + "k", "attributes": {"a": "x"}})
    assert answer.status_code == 400
    assert answer.json["error"]["allowed"] == sorted(words)
    assert len(answer.headers["X-OCCI-Error"]) <= 4096
    assert "invalid-attribute" in answer.headers["X-OCCI-Error"]


# Messages sent together


@pytest.mark.parametrize("passed", [0, 1, 2])
def test_a_send_that_fails_half_way_says_how_many_are_sent(monkeypatch, passed):
    """What is more than one step is accepted step by step; the answer of one that fails tells how many went before."""
    monkeypatch.setattr(sending, "_TOGETHER", 4)
    front = Front()
    add_own(front.broker)
    add_member(front.broker, "a", 1)
    messages = [{"id": f"m{n}", "mixins": [cmbs.mixin("l2")]} for n in range(6)]
    front.request("POST", "/cmbs/message/", {"resources": messages})
    front.store.arm(Fault.UNAVAILABLE, "write", after=passed)
    error = front.request("POST", "/cmbs/message/?action=send_l2", {}).json["error"]
    front.store.disarm()
    assert error["status"] == 503
    assert error.get("accepted", 0) == 2 * passed
    states = [
        front.request("GET", f"/cmbs/message/m{n}").json["attributes"]["cmbs"]["message"].get("state") for n in range(6)
    ]
    assert [state == "sending" for state in states] == [n < 2 * passed for n in range(6)]


# Attributes of an action in the URL


def message(front):
    """A message by topic, with one member that is interested; its path."""
    add_own(front.broker)
    add_member(front.broker, "rome", 1, topics=["network.>"])
    body = {
        "kind": cmbs.MESSAGE,
        "mixins": [cmbs.mixin("l32")],
        "attributes": {"cmbs.message.topics": ["network.link"]},
    }
    return front.request("POST", "/cmbs/message/", body).json["Location"][0].removeprefix("http://localhost")


def test_attributes_of_an_action_may_stand_in_the_url(front):
    """As in the body: numbers and flags as JSON has them, of one entity and of a collection."""
    path = message(front)
    for where in (
        f"{path}?action=send_l32&",
        f"/cmbs/message/?action=send_l32&category={cmbs.mixin('l32').replace('#', '%23')}&",
    ):
        planned = front.request("POST", f"{where}dry_run=true")
        assert planned.status_int == 200
        assert '"dry_run":true' in planned.text
    assert front.request("POST", f"{path}?action=send_l32&wait=0.1").json["deliveries"][0]["member"] == "rome"
    (waited,) = [said for name, said in front.engine.calls if name == "wait"]
    assert 0 < waited["seconds"] <= 0.1


@pytest.mark.parametrize(
    ("query", "body", "code"),
    [
        ("action=send_l32&wiat=5", None, "invalid-attribute"),
        ("action=send_l32&wait=soon", None, "invalid-attribute"),
        ("action=send_l32&wait=%225%22", None, "invalid-attribute"),
        ("action=send_l32&wait=5&wait=6", None, "invalid-request"),
        ("action=send_l32&wait=5", {"attributes": {"wait": 5}}, "invalid-request"),
        ("wait=5", None, "invalid-request"),
    ],
)
def test_what_is_no_attribute_of_the_action_is_refused(front, query, body, code):
    """A mistyped one as in the body; one that is said twice; and any where there is no action."""
    path = message(front)
    answer = front.request("POST", f"{path}?{query}", body)
    assert (answer.status_int, answer.json["error"]["code"]) == (400, code)
    assert front.engine.calls == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_only_an_action_has_attributes(front, method):
    """Elsewhere a parameter that is not known is still a 400, at /-/ too."""
    path = message(front)
    for where in (path, "/cmbs/message/", *(["/-/"] if method == "GET" else [])):
        assert front.request(method, f"{where}?wait=5", {} if method == "PUT" else None).status_int in (400, 405)
        assert front.request(method, f"{where}?action=x&wait=5", {} if method == "PUT" else None).status_int in (
            400,
            405,
        )


@pytest.mark.parametrize(
    ("prefer", "body", "seconds"),
    [
        ("wait=5", None, 5),
        ("respond-async, Wait = 7; x=y", None, 7),
        ("wait=600", None, 60),
        ("wait=5", {"attributes": {"wait": 2}}, 2),
        ("wait=soon", None, None),
        ("await=5", None, None),
    ],
)
def test_a_client_may_prefer_to_wait(front, prefer, body, seconds):
    """RFC 7240: as far as it goes, unless the request says it itself; what makes no sense is as if it was not there."""
    path = message(front)
    assert front.request("POST", f"{path}?action=send_l32", body, Prefer=prefer).status_int == 200
    waited = [said["seconds"] for name, said in front.engine.calls if name == "wait"]
    assert len(waited) == (seconds is not None)
    assert all(seconds - 1 < one <= seconds for one in waited)


def test_an_action_that_does_not_wait_takes_no_notice_of_the_preference(cloud):
    """It is no attribute that was given."""
    assert text(cloud, "PUT", "/compute/p", COMPUTE).status_int == 201
    assert text(cloud, "POST", "/compute/p?action=start", Prefer="wait=5").status_int == 200
