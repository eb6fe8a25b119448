"""What the broker says of its own interface is true, and as its categories are."""

import pytest

from pycmbs.occi import cmbs
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
    assert creation.keys() == {"action", "then", "wait", "dry_run", "Prefer", "Idempotency-Key"}
    assert creation["wait"]["schema"] == {"type": "number", "minimum": 0, "maximum": cmbs.MOST_WAIT}
    assert creation["dry_run"]["schema"] == {"type": "boolean"}
    assert creation["then"]["schema"]["enum"] == ["send_l1", "send_l2", "send_l31", "send_l32", "send_l4"]
    assert "order" in {one["name"] for one in after["paths"]["/compute/"]["get"]["parameters"]}
    schema = after["components"]["schemas"]["compute"]["properties"]["attributes"]["properties"]
    assert "type" in schema["occi.compute.cores"]


def test_attributes_of_parents_and_mixins_are_described(front):
    """As an entity may have them."""
    flat = described(front)["components"]["schemas"]["cmbs_message"]["properties"]["attributes"]["properties"]
    assert flat["cmbs.message.topics"]["type"] == "array"
    assert flat["cmbs.message.deliveries"]["readOnly"]


def test_events_and_problems_are_described_as_they_are_taken_and_given(front):
    """By the schema that is there for them: what it says is taken and what it does not is not; answers are as it says."""
    jsonschema = pytest.importorskip("jsonschema")
    found = described(front)
    paths, schemas = found["paths"], found["components"]["schemas"]
    taken = paths["/cmbs/message/"]["post"]["requestBody"]["content"]
    one, some = "application/cloudevents+json", "application/cloudevents-batch+json"
    assert taken[one]["schema"] == taken[some]["schema"]["items"] == {"$ref": "#/components/schemas/CloudEvent"}
    assert one not in paths["/cmbs/member/"]["post"]["requestBody"]["content"]
    event = {"specversion": "1.0", "id": "1", "source": "/here", "type": "a.b"}
    wrong = [{**event, "specversion": "0.3"}, {**event, "id": ""}, {**event, "data": 1, "data_base64": ""}, []]
    for given in [event, {**event, "data": {"x": 1}}, *wrong]:
        valid = jsonschema.Draft202012Validator(schemas["CloudEvent"]).is_valid(given)
        assert valid == (given not in wrong)
        answer = front.request(
            "POST", "/cmbs/message/", {**given, "id": "2"} if "data" in given else given, Content_Type=one
        )
        assert answer.status_code == (201 if valid else 400), answer.text
    read = paths["/cmbs/message/{id}"]["get"]["responses"]["200"]["content"]
    assert one in read
    where = front.request("GET", "/cmbs/message/").json["X-OCCI-Location"][0].removeprefix("http://localhost")
    shown = front.request("GET", where, Accept=one)
    assert shown.headers["Content-Type"].startswith(one)
    jsonschema.validate(shown.json, schemas["CloudEvent"])
    refused = front.request("GET", "/cmbs/message/none", Accept="application/problem+json")
    assert "application/problem+json" in found["components"]["responses"]["Error"]["content"]
    jsonschema.validate(refused.json, schemas["Problem"])


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
