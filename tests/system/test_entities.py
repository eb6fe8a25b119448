"""Entities over HTTP: created, read, found, changed, deleted and acted on."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.harness import LAYERS, Broker, refusal

MEMBER = "http://houssem.org/cmbs#member"
MESSAGE = "http://houssem.org/cmbs#message"
L1, L2 = "http://houssem.org/cmbs#l1", "http://houssem.org/cmbs#l2"
THING = "http://example.org/things#thing"


@pytest.fixture(scope="module", autouse=True)
def kind(shared: Broker) -> None:
    """A kind with an attribute of every sort."""
    attributes = {
        "size": {"type": "number"},
        "on": {"type": "boolean", "default": False},
        "color": {"pattern": "red|green", "default": "red"},
        "serial": {"mutable": False},
        "words": {"type": "array"},
        "inside": {"type": "object"},
    }
    definition = {
        "term": "thing",
        "scheme": "http://example.org/things#",
        "location": "/thing/",
        "attributes": {"org": {"example": attributes}},
        "actions": ["http://example.org/things/action#poke"],
    }
    action = {"term": "poke", "scheme": "http://example.org/things/action#", "title": "poke it"}
    shared.ok("POST", "/-/", {"kinds": [definition], "actions": [action]})


def thing(**attributes: Any) -> dict[str, Any]:
    """A thing as a client sends it."""
    return {"kind": THING, "attributes": {f"org.example.{name}": value for name, value in attributes.items()}}


def message(**attributes: Any) -> dict[str, Any]:
    """A message as a client sends it."""
    return {"resources": [{"kind": MESSAGE, "attributes": {"cmbs": {"message": attributes}}}]}


def member(**attributes: Any) -> dict[str, Any]:
    """A member that is another broker's, as a client sends it."""
    return {"resources": [{"kind": MEMBER, "attributes": {"cmbs": {"member": {"local": "false", **attributes}}}}]}


def create(broker: Broker, location: str, body: Any) -> str:
    """The path of what a POST creates."""
    return broker.ok("POST", location, body)["Location"][0].removeprefix(broker.url)


def values(broker: Broker, path: str) -> dict[str, Any]:
    """A thing's attributes."""
    return broker.get(path)["attributes"]["org"]["example"]


def paths(broker: Broker, where: str, body: Any = None) -> list[str]:
    """What a collection lists."""
    answer = broker.request("GET", where, body)
    assert answer.status_code == 200, answer.text
    return [url.removeprefix(broker.url) for url in answer.json()["X-OCCI-Location"]]


# Creating


def test_the_clients_id_is_the_last_part_of_the_url(shared: Broker) -> None:
    """A POST with an id creates the entity there and says so in body and header."""
    answer = shared.request("POST", "/thing/", {"resources": [{**thing(size=1), "id": "urn:uuid:one"}]})
    assert (answer.status_code, answer.json()) == (201, {"Location": [f"{shared.url}/thing/one"]})
    assert answer.headers["Location"] == f"{shared.url}/thing/one"
    assert shared.get("/thing/one")["id"] == "one"


def test_without_an_id_the_broker_makes_a_uuid(shared: Broker) -> None:
    """A POST without an id gets a UUID, and several entities in one POST all appear in the answer."""
    made = shared.ok("POST", "/thing/", {"resources": [thing(size=1), thing(size=2)]})["Location"]
    assert [values(shared, url.removeprefix(shared.url))["size"] for url in made] == [1, 2]
    assert all(str(uuid.UUID(url.rpartition("/")[2])) in url for url in made)


def test_put_creates_and_then_replaces(shared: Broker) -> None:
    """PUT at a new path is a 201 with Location; PUT there again is a 200 with the whole entity, the rest at its defaults."""
    answer = shared.request("PUT", "/thing/put", thing(size=1, color="green"))
    assert (answer.status_code, answer.headers["Location"]) == (201, f"{shared.url}/thing/put")
    answer = shared.request("PUT", "/thing/put", {**thing(size=2), "title": "new"})
    assert answer.status_code == 200
    assert answer.json() == shared.get("/thing/put")
    assert answer.json()["attributes"] == {"org": {"example": {"size": 2, "on": False, "color": "red"}}}


def test_a_request_is_atomic(shared: Broker) -> None:
    """When one of several entities is wrong none is created."""
    body = {"resources": [{**thing(size=1), "id": "right"}, {**thing(size="x"), "id": "wrong"}]}
    refusal(shared.request("POST", "/thing/", body), 400, "invalid-attribute", "org.example.size")
    refusal(shared.request("GET", "/thing/right"), 404, "unknown-entity", "/thing/right")


def test_an_id_that_is_taken_is_a_409(shared: Broker) -> None:
    """A POST never overwrites: a second entity of the same id is refused, naming it, within one request too."""
    shared.ok("POST", "/thing/", {**thing(size=1), "id": "twice"})
    refusal(shared.request("POST", "/thing/", {**thing(size=2), "id": "twice"}), 409, "duplicate-id", "/thing/twice")
    pair = {"resources": [{**thing(), "id": "pair"}] * 2}
    refusal(shared.request("POST", "/thing/", pair), 409, "duplicate-id", "/thing/pair")
    assert values(shared, "/thing/twice")["size"] == 1


def test_a_broker_is_one_member(shared: Broker) -> None:
    """A second local member is a 409 that names the first; a member that is another broker's is welcome."""
    first = create(shared, "/cmbs/member/", {"kind": MEMBER, "attributes": {}})
    refusal(shared.request("POST", "/cmbs/member/", {"kind": MEMBER}), 409, "second-local-member", first)
    refusal(shared.request("PUT", "/cmbs/member/second", {"kind": MEMBER}), 409, "second-local-member", first)
    other = create(shared, "/cmbs/member/", member(state="active"))
    assert shared.attributes(other, "member")["local"] == "false"
    for path in (first, other):
        shared.ok("DELETE", path)
    shared.ok("DELETE", create(shared, "/cmbs/member/", {"kind": MEMBER}))


# Changing


def test_a_partial_post_changes_what_it_gives(shared: Broker) -> None:
    """POST at an entity changes the attributes and texts it names, leaves the rest, and answers with all of it."""
    path = create(shared, "/thing/", {**thing(size=1, words=["a"]), "title": "old", "summary": "stays"})
    answer = shared.request("POST", path, {"attributes": {"org": {"example": {"size": 2}}}, "title": "new"})
    assert answer.status_code == 200
    assert answer.json() == shared.get(path)
    assert values(shared, path) == {"size": 2, "words": ["a"], "on": False, "color": "red"}
    assert (answer.json()["title"], answer.json()["summary"]) == ("new", "stays")


@pytest.mark.parametrize("collection", ["thing", "member", "message"])
def test_what_was_read_can_be_sent_back(shared: Broker, collection: str) -> None:
    """PUT of exactly what a GET answered is a 200 that changes nothing, links to actions and the broker's part included."""
    body = {"thing": thing(serial="s", inside={"a": {"b": 1}}), "member": member(), "message": message(cmbs_layer="l1")}
    location = "/thing/" if collection == "thing" else f"/cmbs/{collection}/"
    path = create(shared, location, body[collection])
    before = shared.get(path)
    answer = shared.request("PUT", path, before)
    assert (answer.status_code, answer.json()) == (200, before)
    answer = shared.request("PUT", path, {"resources": [before]})
    assert (answer.status_code, shared.get(path)) == (200, before)


def test_a_message_that_was_sent_can_be_sent_back_too(shared: Broker) -> None:
    """PUT of a sent message with its ledger, state and origin, as read, is a 200."""
    own = create(shared, "/cmbs/member/", {"kind": MEMBER})
    path = shared.message("l31", "x", providers=["nobody"])
    shared.ok("POST", f"{path}?action=send_l31", {"attributes": {"wait": 5}})
    before = shared.get(path)
    assert before["attributes"]["cmbs"]["message"]["deliveries"]
    assert shared.ok("PUT", path, before) == before
    shared.ok("DELETE", own)


def test_immutable_and_the_brokers_own(shared: Broker) -> None:
    """An immutable attribute that changes is a 403 with its name; so is one that only the broker writes, at any time."""
    path = create(shared, "/thing/", thing(serial="s"))
    refusal(shared.request("POST", path, thing(serial="t")), 403, "immutable-attribute", "org.example.serial")
    assert values(shared, path)["serial"] == "s"
    text = create(shared, "/cmbs/message/", message())
    for name, value in (("state", "delivered"), ("origin", "me"), ("deliveries", [{}])):
        for method, where in (("POST", "/cmbs/message/"), ("POST", text), ("PUT", text), ("PUT", "/cmbs/message/new")):
            answer = shared.request(method, where, message(**{name: value}))
            refusal(answer, 403, "immutable-attribute", f"cmbs.message.{name}")
    refusal(
        shared.request("POST", "/cmbs/member/", member(listening=["l1"])),
        403,
        "immutable-attribute",
        "member.listening",
    )
    other = create(shared, "/cmbs/member/", member())
    refusal(shared.request("POST", other, member(local="true")), 403, "immutable-attribute", "cmbs.member.local")


def test_kind_and_id_do_not_change(shared: Broker) -> None:
    """An entity keeps its kind and its id, whoever asks otherwise."""
    path = create(shared, "/thing/", thing(size=1))
    refusal(shared.request("PUT", path, {"kind": MESSAGE}), 400, "invalid-request", "kind")
    refusal(shared.request("POST", path, {**thing(), "id": "other"}), 400, "invalid-request", "id")
    refusal(shared.request("PUT", "/thing/here", {**thing(), "id": "there"}), 400, "invalid-request", "there")


# Values


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({"color": "redX"}, "green, red"),
        ({"color": "Xgreen"}, "green, red"),
        ({"size": "1"}, "a number"),
        ({"size": True}, "a number"),
        ({"on": "yes"}, "true or false"),
        ({"words": "a"}, "an array"),
        ({"inside": [1]}, "an object"),
        ({"siez": 1}, "org.example.size"),
    ],
)
def test_a_wrong_value_is_a_400_that_names_it(shared: Broker, attributes: dict[str, Any], named: str) -> None:
    """Enumerations match whole, types hold, an unknown attribute is named and the one that was meant is proposed."""
    error = refusal(shared.request("POST", "/thing/", thing(**attributes)), 400, "invalid-attribute", named)
    assert error["attribute"] == f"org.example.{next(iter(attributes))}"


def test_active_x_is_no_state(shared: Broker) -> None:
    """The word "activeX" as a member's state is a 400 that names the attribute; each of the four states passes."""
    refusal(shared.request("POST", "/cmbs/member/", member(state="activeX")), 400, "invalid-attribute", "member.state")
    for state in ("active", "inactive", "suspended", "failed"):
        assert shared.attributes(create(shared, "/cmbs/member/", member(state=state)), "member")["state"] == state


@pytest.mark.parametrize("flag", ["True", "true", "TRUE", True])
def test_flags_in_every_spelling(shared: Broker, flag: object) -> None:
    """The flags "True", "true" and true mean the same, in a flag of 2012 and in a boolean."""
    path = create(shared, "/cmbs/message/", message(storable=flag, sendable=flag, executable=flag))
    assert {shared.attributes(path, "message")[name] for name in ("storable", "sendable", "executable")} == {"true"}
    assert values(shared, create(shared, "/thing/", thing(on=flag)))["on"] is True
    assert path in paths(shared, f"/cmbs/message/?attribute=cmbs.message.storable&value={flag}")


def test_the_layers_of_2012_in_both_spellings(shared: Broker) -> None:
    """l3.1 and l31 are the same attribute, mixin, layer and action, nested or flat, written, filtered or acted on."""
    sockets = {"l3.1_socket": "tcp://127.0.0.1:7031", "l32_socket": "tcp://127.0.0.1:7032"}
    path = create(shared, "/cmbs/member/", member(**sockets))
    assert shared.attributes(path, "member")["l31_socket"] == "tcp://127.0.0.1:7031"
    update = {"attributes": {"cmbs.member.l3.1_socket": "tcp://127.0.0.1:8031"}}
    assert shared.ok("POST", path, update)["attributes"]["cmbs"]["member"]["l31_socket"] == "tcp://127.0.0.1:8031"
    wanted = "attribute=cmbs.member.l3.1_socket&value=tcp://127.0.0.1:8031"
    assert paths(shared, f"/cmbs/member/?{wanted}") == [path]
    body = {
        "kind": MESSAGE,
        "mixins": ["http://houssem.org/cmbs#l3.1"],
        "attributes": {"cmbs.message.cmbs_layer": "l3.1"},
    }
    text = create(shared, "/cmbs/message/", body)
    assert shared.attributes(text, "message")["cmbs_layer"] == "l31"
    own = create(shared, "/cmbs/member/", {"kind": MEMBER})
    dry = {"attributes": {"dry_run": True}}
    for spelling in ("l31", "l3.1"):
        refusal(
            shared.request("POST", f"{text}?action=send_{spelling}", dry), 400, "invalid-request", "message.providers"
        )
        shared.ok("POST", f"{own}?action=stop_{spelling}", {})
    shared.ok("DELETE", own)


# Finding


def test_collections_list_in_order_of_creation(shared: Broker) -> None:
    """GET of a collection lists its entities, oldest first; "/" lists those of every kind."""
    made = [create(shared, "/cmbs/message/", message()) for _ in range(3)]
    assert paths(shared, "/cmbs/message/")[-3:] == made
    assert set(made) < set(paths(shared, "/"))
    assert set(paths(shared, "/cmbs/message/")) < set(paths(shared, "/"))


def test_filters_of_every_form(shared: Broker) -> None:
    """A JSON body, ?attribute=&value= and ?category= (identifier or term) select the same entities, alone or together."""
    mark = uuid.uuid4().hex
    body = {"kind": MESSAGE, "mixins": [L1], "attributes": {"cmbs.message.message_content": mark}}
    one = create(shared, "/cmbs/message/", body)
    two = create(shared, "/cmbs/message/", {**body, "mixins": [L2]})
    asked = f"attribute=cmbs.message.message_content&value={mark}"
    nested = {"resources": [{"attributes": {"cmbs": {"message": {"message_content": mark}}}}]}
    assert paths(shared, "/cmbs/message/", nested) == paths(shared, f"/cmbs/message/?{asked}") == [one, two]
    assert paths(shared, "/", {**nested["resources"][0], "kind": MESSAGE}) == [one, two]
    for name in ("http://houssem.org/cmbs%23l1", "l1"):
        assert paths(shared, f"/cmbs/message/?{asked}&category={name}") == [one]
    assert one in paths(shared, "/cmbs/message/l1/")
    assert one in paths(shared, "/?category=l1")
    assert paths(shared, f"/cmbs/message/?{asked}&attribute=cmbs.message.cmbs_layer&value=l2") == [two]
    either = {"resources": [{"id": one.rpartition("/")[2]}, {"id": two.rpartition("/")[2]}]}
    assert paths(shared, "/cmbs/message/", either) == [one, two]
    assert paths(shared, "/cmbs/message/?attribute=cmbs.message.message_content&value=nothing") == []


def test_filters_by_numbers_flags_and_items(shared: Broker) -> None:
    """Numbers, booleans and items of arrays are found by what a query string can say."""
    path = create(shared, "/thing/", thing(size=4242, on=True, words=["needle", "b"]))
    for name, value in (("size", "4242"), ("words", "needle")):
        assert paths(shared, f"/thing/?attribute=org.example.{name}&value={value}") == [path]
    assert path in paths(shared, "/thing/?attribute=org.example.on&value=true")
    assert paths(shared, "/thing/", {"resources": [thing(size=4242)]}) == [path]


@pytest.mark.parametrize(
    ("query", "status", "code", "named"),
    [
        ("?categroy=l1", 400, "invalid-request", "categroy"),
        ("?attribute=cmbs.message.state", 400, "invalid-request", "value"),
        ("?value=1", 400, "invalid-request", "value"),
        ("?attribute=cmbs.message.stat&value=1", 400, "invalid-attribute", "cmbs.message.state"),
        ("?category=nothing", 404, "unknown-category", "nothing"),
    ],
)
def test_a_mistyped_filter_selects_nothing(shared: Broker, query: str, status: int, code: str, named: str) -> None:
    """An unknown parameter, attribute or category is an error for GET and for DELETE, which then deletes nothing."""
    kept = create(shared, "/cmbs/message/", message())
    for method in ("GET", "DELETE"):
        refusal(shared.request(method, f"/cmbs/message/{query}"), status, code, named)
    assert shared.get(kept)


# Deleting and acting


def test_delete_then_404(shared: Broker) -> None:
    """A deleted entity is gone: GET, POST, DELETE and actions on it are 404; its id can be used again."""
    path = create(shared, "/thing/", {**thing(), "id": "gone"})
    assert shared.request("DELETE", path).status_code == 200
    for method, where in (("GET", path), ("DELETE", path), ("POST", path), ("POST", f"{path}?action=poke")):
        refusal(
            shared.request(method, where, None if method != "POST" else {"title": "x"}), 404, "unknown-entity", path
        )
    assert create(shared, "/thing/", {**thing(), "id": "gone"}) == path


def test_delete_of_a_selection(shared: Broker) -> None:
    """DELETE of a collection with a filter deletes what the filter selects, and nothing else."""
    one, two = (create(shared, "/thing/", thing(size=size)) for size in (9001, 9002))
    shared.ok("DELETE", "/thing/?attribute=org.example.size&value=9001")
    refusal(shared.request("GET", one), 404, "unknown-entity")
    shared.ok("DELETE", "/thing/", {"resources": [thing(size=9002)]})
    refusal(shared.request("GET", two), 404, "unknown-entity")


def test_actions_on_one_and_on_many(shared: Broker) -> None:
    """An action is invoked by the query alone or by the body of either form, on one entity or on a selection."""
    path = create(shared, "/thing/", thing(size=77))
    name = "http://example.org/things/action#poke"
    old = {"actions": [{"term": "poke", "scheme": "http://example.org/things/action#"}]}
    for body in (None, {}, {"action": name}, old):
        assert shared.ok("POST", f"{path}?action=poke", body) == {}
    many = shared.ok("POST", "/thing/?action=poke&attribute=org.example.size&value=77", {})
    assert many == {shared.url + path: {}}
    assert shared.get(path)["actions"] == [
        {"title": "poke it", "href": f"{shared.url}{path}?action=poke", "category": name}
    ]
    refusal(shared.request("POST", f"{path}?action=explode", {}), 400, "invalid-request", "explode", "poke")
    refusal(shared.request("POST", f"{path}?action=poke", {"action": name + "y"}), 400, "invalid-request", "pokey")
    refusal(shared.request("POST", "/?action=poke", {}), 400, "invalid-request", "poke")


def test_layers_are_actions_too(shared: Broker) -> None:
    """A member's actions are offered with it: those of 2012, the stop of each layer, and both for all layers."""
    path = create(shared, "/cmbs/member/", member())
    offered = {one["href"].partition("=")[2] for one in shared.get(path)["actions"]}
    each = {f"{verb}_{layer}" for verb in ("start", "stop") for layer in LAYERS}
    assert offered == {"check_neighbors", "start", "stop", *each}
    refusal(shared.request("POST", f"{path}?action=start_l1", {}), 400, "invalid-request", path)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/cmbs/message/x", "DELETE, GET, HEAD, OPTIONS, POST, PUT"),
        ("PUT", "/cmbs/message/", "DELETE, GET, HEAD, OPTIONS, POST"),
        ("PATCH", "/cmbs/message/", "DELETE, GET, HEAD, OPTIONS, POST"),
        ("PATCH", "/cmbs/message/l1/", "DELETE, GET, HEAD, OPTIONS, POST, PUT"),
        ("PATCH", "/-/", "DELETE, GET, HEAD, OPTIONS, POST, PUT"),
    ],
)
def test_a_method_that_is_not_there(shared: Broker, method: str, path: str, allowed: str) -> None:
    """A method that a path lacks is a 405 whose Allow header lists those it has."""
    answer = shared.request(method, path, {})
    refusal(answer, 405, "method-not-allowed", method, path)
    assert answer.headers["Allow"] == allowed
    assert shared.request("OPTIONS", path).headers["Allow"] == allowed


def test_head_is_get_without_the_body(shared: Broker) -> None:
    """HEAD of an entity, a collection and the query interface answers with the headers of GET."""
    path = create(shared, "/thing/", thing())
    for where in (path, "/thing/", "/-/"):
        answer = shared.request("HEAD", where)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["Content-Length"] == shared.request("GET", where).headers["Content-Length"]


def test_a_mixin_given_and_taken(shared: Broker) -> None:
    """POST of locations at a mixin's location gives entities the mixin, DELETE of them takes it away again."""
    path = create(shared, "/cmbs/message/", message())
    where = {"X-OCCI-Location": [shared.url + path]}
    shared.ok("POST", "/cmbs/message/l2/", where)
    assert shared.get(path)["mixins"] == [L2]
    assert path in paths(shared, "/cmbs/message/l2/")
    shared.ok("DELETE", "/cmbs/message/l2/", where)
    assert path not in paths(shared, "/cmbs/message/l2/")
    refusal(
        shared.request("POST", "/cmbs/message/l2/", {"X-OCCI-Location": [path, "/none"]}),
        404,
        "unknown-entity",
        "/none",
    )
    assert shared.get(path)["mixins"] == []
