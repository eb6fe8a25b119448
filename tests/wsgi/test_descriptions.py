"""What the broker says of its own interface is true, and as its categories are."""

import pytest

from tests.wsgi.conftest import FOLDER

PATH = "/openapi.json"


def described(front):
    """The description, which is valid."""
    validator = pytest.importorskip("openapi_spec_validator")
    answer = front.request("GET", PATH, Accept="application/json")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    validator.validate(answer.json)
    return answer.json


def test_every_kind_is_described_as_soon_as_it_is_registered(front):
    """Its collection, its entities, its attributes and its actions."""
    before = described(front)
    assert before["openapi"].startswith("3.1")
    assert {"/", "/-/", "/cmbs/message/", "/cmbs/message/{id}", "/cmbs/member/", "/cmbs/message/l2/"} <= set(
        before["paths"]
    )
    assert "/compute/" not in before["paths"]
    front.request("POST", "/-/", (FOLDER / "post_category_compute.json").read_bytes())
    after = described(front)
    assert {"/compute/", "/compute/{id}"} <= set(after["paths"])
    (action,) = after["paths"]["/compute/{id}"]["post"]["parameters"]
    assert "start" in action["schema"]["enum"]
    creation = {one["name"]: one for one in after["paths"]["/cmbs/message/"]["post"]["parameters"]}
    assert creation.keys() == {"action", "then", "Idempotency-Key"}
    assert creation["then"]["schema"]["enum"] == ["send_l1", "send_l2", "send_l31", "send_l32", "send_l4"]
    assert "order" in {one["name"] for one in after["paths"]["/compute/"]["get"]["parameters"]}
    schema = after["components"]["schemas"]["compute"]["properties"]["attributes"]["properties"]
    assert "type" in schema["occi.compute.cores"]


def test_attributes_of_parents_and_mixins_are_described(front):
    """As an entity may have them."""
    flat = described(front)["components"]["schemas"]["cmbs_message"]["properties"]["attributes"]["properties"]
    assert flat["cmbs.message.topics"]["type"] == "array"
    assert flat["cmbs.message.deliveries"]["readOnly"]


def test_the_tag_changes_with_the_categories(front):
    """And not before: a client that has it is told so."""
    first = front.request("GET", PATH).headers["ETag"]
    assert front.request("GET", PATH, If_None_Match=first).status_code == 304
    front.request("POST", "/-/", (FOLDER / "post_category_compute.json").read_bytes())
    assert front.request("GET", PATH, If_None_Match=first).status_code == 200


def test_it_is_found_from_the_root(front):
    """By a link, and by the catalogue (RFC 8631, RFC 9727)."""
    for path in ("/", "/-/"):
        assert '</openapi.json>; rel="service-desc"' in front.request("GET", path).headers.getall("Link")[0]
    catalogue = front.request("GET", "/.well-known/api-catalog")
    assert catalogue.headers["Content-Type"] == "application/linkset+json"
    (entry,) = catalogue.json["linkset"]
    assert entry["service-desc"][0]["href"] == "http://localhost/openapi.json"


def test_only_reading_is_there(front):
    """A change of it is a 405 that says so, a parameter a 400."""
    for path in (PATH, "/.well-known/api-catalog"):
        assert front.request("DELETE", path).status_code == 405
        assert front.request("GET", path + "?page=1&number=2").status_code == 400
