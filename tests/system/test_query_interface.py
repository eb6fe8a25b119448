"""The query interface: categories registered, listed, filtered, replaced, bound and removed while the broker runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.harness import EXAMPLES, JSON, Broker, refusal

SCHEME = "http://example.org/q#"
ACTION = "http://example.org/q/action#"
CORE = "http://schemas.ogf.org/occi/core#"
QUERY = "/-/"
WELL_KNOWN = "/.well-known/org/ogf/occi/-/"


def kind(term: str, **members: Any) -> dict[str, Any]:
    """A kind of one attribute."""
    attributes = {"org": {"example": {"size": {"type": "number"}}}}
    return {"term": term, "scheme": SCHEME, "location": f"/q/{term}/", "attributes": attributes, **members}


def mixin(term: str, **members: Any) -> dict[str, Any]:
    """A mixin of one attribute."""
    attributes = {"org": {"example": {term: {"type": "string"}}}}
    return {"term": term, "scheme": SCHEME, "location": f"/q/{term}/", "attributes": attributes, **members}


def name(term: str) -> dict[str, str]:
    """What names a category in a DELETE."""
    return {"term": term, "scheme": SCHEME}


def terms(broker: Broker, query: str = "", body: Any = None) -> dict[str, set[str]]:
    """What a GET of the query interface lists: terms by class."""
    answer = broker.request("GET", QUERY + query, body)
    assert answer.status_code == 200, answer.text
    return {class_: {one["term"] for one in found} for class_, found in answer.json().items()}


def listed(broker: Broker, term: str) -> dict[str, Any]:
    """The one category with this term."""
    found = broker.get(f"{QUERY}?category={term}")
    (category,) = [one for class_ in found.values() for one in class_]
    return category


def test_the_core_is_there_and_stays(start_broker: Callable[..., Broker]) -> None:
    """An empty broker has entity, resource and link, at both paths, and no one can remove, replace or bind them."""
    broker = start_broker("--workers", "1", "--preload", "none")
    assert terms(broker) == {"kinds": {"entity", "resource", "link"}, "mixins": set(), "actions": set()}
    assert broker.get(QUERY) == broker.get(WELL_KNOWN)
    for term in ("entity", "resource", "link"):
        core = {"term": term, "scheme": CORE}
        binding = {"providers": [{"Provider": {"local": ["dummy"], "remote": []}, "OCCI_ID": CORE + term}]}
        for method, body in (("DELETE", {"kinds": [core]}), ("PUT", {"kinds": [core]}), ("PUT", binding)):
            refusal(broker.request(method, QUERY, body), 403, "forbidden", CORE + term)


def test_the_shipped_definitions_are_the_brokers_own(shared: Broker) -> None:
    """The member and message kinds cannot be deleted, and the answer says how to do without them."""
    cmbs = {"term": "member", "scheme": "http://houssem.org/cmbs#"}
    refusal(shared.request("DELETE", QUERY, {"kinds": [cmbs]}), 403, "forbidden", "preload = none")
    assert {"member", "message"} <= terms(shared)["kinds"]


def test_the_page_is_readable(shared: Broker) -> None:
    """Curl that asks for JSON is shown it indented, with the actions and locations of every kind."""
    answer = requests.get(
        f"{shared.url}/-/", headers={"Accept": "application/occi+json", "User-Agent": "curl/7.88.1"}, timeout=10
    )
    assert answer.headers["Content-Type"] == "application/occi+json"
    assert answer.text.startswith('{\n  "kinds": [\n    {\n      "term": "entity"')
    assert answer.text.endswith("}\n")
    assert "OCCI/1.2" in answer.headers["Server"]


def test_registered_listed_and_deleted_on_the_fly(shared: Broker) -> None:
    """A kind, a mixin and an action are usable the moment the POST is answered, and gone the moment the DELETE is."""
    body = {
        "kinds": [kind("fly", actions=[f"{ACTION}land"])],
        "mixins": [mixin("wing", applies=[SCHEME + "fly"])],
        "actions": [{"term": "land", "scheme": ACTION}],
    }
    answer = shared.request("POST", QUERY, body)
    assert (answer.status_code, answer.content) == (200, b"")
    assert listed(shared, "fly")["parent"] == f"{CORE}resource"
    assert listed(shared, "wing")["applies"] == [SCHEME + "fly"]
    assert shared.get("/q/fly/") == shared.get("/q/wing/") == {"X-OCCI-Location": []}
    shared.ok(
        "DELETE",
        QUERY,
        {"kinds": [name("fly")], "mixins": [name("wing")], "actions": [{"term": "land", "scheme": ACTION}]},
    )
    refusal(shared.request("GET", "/q/fly/"), 404, "unknown-location", "/q/fly/")
    assert not {"fly", "wing", "land"} & set().union(*terms(shared).values())


def test_filters(shared: Broker) -> None:
    """A JSON body and ?category= (identifier or term) list only what they describe."""
    shared.ok("POST", WELL_KNOWN, {"kinds": [kind("round")], "mixins": [mixin("square")]})
    only = {"kinds": {"round"}, "mixins": set(), "actions": set()}
    assert terms(shared, "?category=round") == only
    assert terms(shared, f"?category={SCHEME.replace('#', '%23')}round") == only
    assert terms(shared, "", {"kinds": [{"location": "/q/round/"}]}) == only
    assert terms(shared, "?category=round&category=square")["mixins"] == {"square"}
    every_mixin = terms(shared, "", {"mixins": []})
    assert every_mixin["mixins"] == terms(shared)["mixins"]
    assert every_mixin["kinds"] == set()
    assert terms(shared, "", {"kinds": [name("square")]})["kinds"] == set()
    refusal(shared.request("GET", QUERY, {"knids": []}), 400, "malformed-body", "knids")
    refusal(shared.request("GET", f"{QUERY}?categroy=x"), 400, "invalid-request", "categroy")


def test_put_replaces(shared: Broker) -> None:
    """PUT of a registered kind changes it at once: the attribute that went is refused, the one that came is checked."""
    shared.ok("POST", QUERY, {"kinds": [kind("put")]})
    shared.ok("PUT", "/q/put/one", {"attributes": {"org.example.size": 1}})
    new = {"org": {"example": {"depth": {"type": "number"}, "size": {"type": "number"}}}}
    shared.ok("PUT", QUERY, {"kinds": [kind("put", attributes=new, title="new")]})
    assert listed(shared, "put")["title"] == "new"
    assert shared.ok("POST", "/q/put/one", {"attributes": {"org.example.depth": 2}})
    shared.ok("PUT", QUERY, {"kinds": [kind("put")]})
    answer = shared.request("POST", "/q/put/one", {"attributes": {"org.example.depth": 2}})
    refusal(answer, 400, "invalid-attribute", "org.example.depth")
    read = shared.get("/q/put/one")
    assert read["attributes"] == {"org": {"example": {"size": 1}}}
    assert shared.ok("PUT", "/q/put/one", read) == read


def test_a_covering_post_changes_nothing(shared: Broker) -> None:
    """POST of what the registered definition covers, as the README of 2012 does, is a 200 and the page stays as it was."""
    before = shared.get(QUERY)
    for example in ("member", "message"):
        for folder in (EXAMPLES, EXAMPLES / "readme_2012"):
            answer = shared.request("POST", QUERY, folder / f"post_category_cmbs_{example}.json")
            assert (answer.status_code, answer.content) == (200, b"")
            shared.ok("PUT", QUERY, folder / f"put_provider_cmbs_{example}.json")
    assert shared.get(QUERY) == before


@pytest.mark.parametrize(
    "change",
    [
        {"location": "/q/elsewhere/"},
        {"attributes": {"org": {"example": {"size": {"type": "string"}}}}},
        {"attributes": {"org": {"example": {"more": {"type": "number"}}}}},
        {"actions": ["http://schemas.ogf.org/occi/core#none"]},
    ],
)
def test_a_contradicting_post_is_a_409(shared: Broker, change: dict[str, Any]) -> None:
    """POST of a definition that says something else than the registered one is refused, pointing to PUT."""
    shared.ok("POST", QUERY, {"kinds": [kind("fixed")]})
    body = {"kinds": [kind("fixed", **change)], "mixins": [mixin("along")]}
    refusal(shared.request("POST", QUERY, body), 409, "category-conflict", SCHEME + "fixed", "PUT")
    assert "along" not in terms(shared)["mixins"]


def test_locations_and_references_are_checked(shared: Broker) -> None:
    """A location belongs to one category, and a definition may refer only to what is there or comes along."""
    taken = kind("thief", location="/cmbs/member/")
    refusal(shared.request("POST", QUERY, {"kinds": [taken]}), 409, "category-conflict", "cmbs#member")
    both = {"kinds": [kind("left", location="/q/same/"), kind("right", location="/q/same/")]}
    refusal(shared.request("POST", QUERY, both), 409, "category-conflict", "/q/same/")
    for member in ({"actions": [f"{ACTION}absent"]}, {"parent": SCHEME + "absent"}):
        refusal(shared.request("POST", QUERY, {"kinds": [kind("lost", **member)]}), 400, "invalid-category", "absent")
    loop = {"kinds": [kind("hen", parent=SCHEME + "egg"), kind("egg", parent=SCHEME + "hen")]}
    refusal(shared.request("POST", QUERY, loop), 400, "invalid-category", "ancestor")
    for location in ("/-/", "/-/x/", "/.well-known/x/", "nope", "/a/../b/", "/q", ["/q/"]):
        refusal(
            shared.request("POST", QUERY, {"kinds": [kind("bad", location=location)]}),
            400,
            "invalid-category",
            "location",
        )


@pytest.mark.parametrize("local", [["nothing"], ["dummy", "cmbs_member"], ["../dummy"]])
def test_an_unknown_backend_is_a_400(shared: Broker, local: list[str]) -> None:
    """Binding a kind to a backend that is not installed, or to two, is refused, naming those there are."""
    shared.ok("POST", QUERY, {"kinds": [kind("bound")]})
    body = {"providers": [{"Provider": {"local": local, "remote": []}, "OCCI_ID": SCHEME + "bound"}]}
    refusal(shared.request("PUT", QUERY, body), 400, "invalid-request", "cmbs_member, cmbs_message, dummy")
    body["providers"][0]["OCCI_ID"] = SCHEME + "unbound"
    refusal(shared.request("PUT", QUERY, body), 404, "unknown-category", "unbound")


def test_a_kind_of_ones_own(shared: Broker) -> None:
    """A registered kind has entities and actions at once, served by the dummy backend, and lends them its parent's parts."""
    land = {"term": "halt", "scheme": ACTION, "title": "halt it"}
    kinds = [kind("vehicle", actions=[f"{ACTION}halt"]), kind("bus", parent=SCHEME + "vehicle", attributes={})]
    shared.ok("POST", QUERY, {"kinds": kinds, "actions": [land]})
    binding = {"Provider": {"local": ["dummy"], "remote": []}, "OCCI_ID": SCHEME + "bus"}
    shared.ok("PUT", QUERY, {"providers": [binding]})
    shared.ok("PUT", "/q/bus/38", {"attributes": {"org.example.size": 12}})
    assert shared.ok("POST", "/q/bus/38?action=halt", {}) == {}
    assert shared.get("/q/bus/38")["attributes"] == {"org": {"example": {"size": 12}}}
    assert shared.get("/q/bus/?attribute=org.example.size&value=12")["X-OCCI-Location"] == [f"{shared.url}/q/bus/38"]


def test_a_deleted_mixin_leaves_its_entities(shared: Broker) -> None:
    """DELETE of a mixin takes it, and its attributes, from the entities that have it; they stay readable and writable."""
    shared.ok("POST", QUERY, {"kinds": [kind("body")], "mixins": [mixin("hat")]})
    entity = {"mixins": [SCHEME + "hat"], "attributes": {"org.example.size": 1, "org.example.hat": "bowler"}}
    shared.ok("PUT", "/q/body/x", entity)
    shared.ok("DELETE", QUERY, {"mixins": [name("hat")]})
    assert shared.get("/q/body/x")["mixins"] == []
    read = shared.get("/q/body/x")
    assert read["attributes"] == {"org": {"example": {"size": 1}}}
    assert shared.ok("PUT", "/q/body/x", read) == read


def test_a_kind_in_use_is_a_409(shared: Broker) -> None:
    """A kind with entities, or one that others refer to, cannot be deleted, and nothing of the request happens."""
    shared.ok("POST", QUERY, {"kinds": [kind("used")], "mixins": [mixin("beside", applies=[SCHEME + "used"])]})
    shared.ok("PUT", "/q/used/x", {"title": "x"})
    refusal(shared.request("DELETE", QUERY, {"kinds": [name("used")]}), 409, "category-conflict", SCHEME + "beside")
    both = {"kinds": [name("used")], "mixins": [name("beside")]}
    refusal(shared.request("DELETE", QUERY, both), 409, "category-conflict", "/q/used/")
    assert listed(shared, "beside")
    shared.ok("DELETE", "/q/used/")
    shared.ok("DELETE", QUERY, both)
    refusal(shared.request("DELETE", QUERY, both), 404, "unknown-category", SCHEME)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "malformed-body"),
        ({"kinds": []}, "malformed-body"),
        ({"kinds": {}}, "malformed-body"),
        ({"kinds": ["x"]}, "malformed-body"),
        ({"kinds": [{}]}, "invalid-category"),
        ({"kinds": [{"term": "a b", "scheme": SCHEME}]}, "invalid-category"),
        ({"kinds": [{"term": "a", "scheme": "nowhere"}]}, "invalid-category"),
        ({"kinds": [kind("bad", attributes=[])]}, "invalid-category"),
        ({"kinds": [kind("bad", attributes={"a": 1})]}, "invalid-category"),
        ({"kinds": [kind("bad", attributes={"a": {"type": "text"}})]}, "invalid-category"),
        ({"kinds": [kind("bad", attributes={"a": {"type": ["string"]}})]}, "invalid-category"),
        ({"kinds": [kind("bad", attributes={"a": {"pattern": "("}})]}, "invalid-category"),
        ({"kinds": [kind("bad", attributes={"a": {"pattern": r"(.)\1"}})]}, "invalid-category"),
        ({"kinds": [kind("bad", attributes={"a": {"pattern": {"type": 5}}})]}, "invalid-category"),
        ({"kinds": [kind("bad", attributes={"a": {"mutable": "perhaps"}})]}, "invalid-category"),
        ({"kinds": [kind("bad", title=5)]}, "invalid-category"),
        ({"kinds": [kind("bad", actions=[5])]}, "invalid-category"),
        ({"kinds": [kind("bad", colour="red")]}, "invalid-category"),
        ({"providers": [{"OCCI_ID": SCHEME + "x"}]}, "malformed-body"),
        ({"providers": [{"Provider": {"local": [5]}, "OCCI_ID": SCHEME + "x"}]}, "malformed-body"),
        ({"providers": [{"Provider": {"local": []}, "OCCI_ID": 5}]}, "invalid-category"),
    ],
)
def test_a_definition_that_is_none(shared: Broker, body: dict[str, Any], code: str) -> None:
    """A definition that contradicts itself or the standard is a 400 that says what and where, for POST and PUT."""
    for method in ("POST", "PUT"):
        refusal(shared.request(method, QUERY, body), 400, code)
    assert "bad" not in terms(shared)["kinds"]


def test_two_fronts_see_each_others_changes_at_once(start_broker: Callable[..., Broker]) -> None:
    """With two front processes, what one answered is what the other answers, whichever a new connection reaches."""
    broker = start_broker("--workers", "2")
    for turn in range(30):
        term = f"turn{turn}"
        calls = [
            ("POST", QUERY, {"kinds": [kind(term)]}, 200),
            ("PUT", f"/q/{term}/x", {"attributes": {"org.example.size": turn}}, 201),
            ("GET", f"/q/{term}/x", None, 200),
            ("DELETE", f"/q/{term}/x", None, 200),
            ("GET", f"/q/{term}/x", None, 404),
            ("DELETE", QUERY, {"kinds": [name(term)]}, 200),
            ("GET", f"/q/{term}/", None, 404),
        ]
        for method, path, body, status in calls:  # a connection each: the kernel picks the front
            answer = requests.request(method, broker.url + path, json=body, headers=JSON, timeout=10)
            assert answer.status_code == status, (turn, method, path, answer.text)


def test_the_registry_survives_a_restart(start_broker: Callable[..., Broker]) -> None:
    """Kinds, bindings, replaced shipped definitions and entities are there after a restart as they were before."""
    broker = start_broker("--workers", "1")
    broker.ok("POST", QUERY, {"kinds": [kind("kept")], "mixins": [mixin("extra")]})
    broker.ok("PUT", "/q/kept/x", {"mixins": [SCHEME + "extra"], "attributes": {"org.example.extra": "e"}})
    message = broker.get(f"{QUERY}?category=message")["kinds"][0]
    broker.ok("PUT", QUERY, {"kinds": [{**message, "title": "mine"}]})
    before = broker.get(QUERY), broker.get("/q/kept/x")
    assert broker.stop() == 0
    broker.start()
    assert (broker.get(QUERY), broker.get("/q/kept/x")) == before
    assert listed(broker, "message")["title"] == "mine"
    broker.message("l1", "x")  # still served by its backend
