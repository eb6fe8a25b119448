"""The JSON of OCCI 1.2 against its schema (GFD.226, appendix), written from the tables of reference 3.8."""

import jsonschema
import pytest

from tests.wsgi.conftest import V12

URI = {"type": "string", "pattern": "^([A-Za-z][A-Za-z0-9+.-]*:|/).+"}
IDENTIFIER = {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9+.-]*:.+#[^#]+$"}
IDENTIFIERS = {"type": "array", "items": IDENTIFIER}
TEXT = {"type": "string"}
VALUES = {"type": "object", "additionalProperties": {"type": ["number", "string", "boolean", "array", "object"]}}


def closed(required, /, **properties):
    """An object with these members and no others."""
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


DEFINITION = closed(
    [],
    mutable={"type": "boolean"}, required={"type": "boolean"}, pattern={"type": "object"}, description=TEXT,
    type={"enum": ["string", "number", "boolean", "array", "object"]}, default={},
)  # fmt: skip
COMMON = {"term": TEXT, "scheme": URI, "title": TEXT,
          "attributes": {"type": "object", "additionalProperties": DEFINITION}}  # fmt: skip
END = closed(["location"], location=URI, kind=IDENTIFIER)
ENTITY = {
    "kind": IDENTIFIER,
    "id": URI,
    "mixins": IDENTIFIERS,
    "attributes": VALUES,
    "actions": IDENTIFIERS,
    "title": TEXT,
}
LINK = closed(["kind", "id", "source", "target"], **ENTITY, source=END, target=END)
RESOURCE = closed(["kind", "id"], **ENTITY, summary=TEXT, links={"type": "array", "items": LINK})
KIND = closed(["term", "scheme"], **COMMON, parent=IDENTIFIER, actions=IDENTIFIERS, location=URI)
MIXIN = closed(
    ["term", "scheme", "location"],
    **COMMON,
    depends=IDENTIFIERS,
    applies=IDENTIFIERS,
    actions=IDENTIFIERS,
    location=URI,
)
ACTION = closed(["term", "scheme"], **COMMON)
MODEL = closed(
    [],
    **{
        name: {"type": "array", "items": one} for name, one in (("kinds", KIND), ("mixins", MIXIN), ("actions", ACTION))
    },
)
COLLECTION = closed([], resources={"type": "array", "items": RESOURCE}, links={"type": "array", "items": LINK})
INVOCATION = closed(["action"], action=IDENTIFIER, attributes=VALUES)


@pytest.mark.parametrize(
    ("method", "path", "body", "schema"),
    [
        ("GET", "/-/", None, MODEL),
        ("GET", "/", None, COLLECTION),
        ("GET", "/compute/", None, COLLECTION),
        ("GET", "/storagelink/", None, COLLECTION),
        ("GET", "/compute/compute-1", None, RESOURCE),
        ("GET", "/storagelink/storagelink-1", None, LINK),
        ("POST", "/compute/", {"title": "t"}, COLLECTION),
        ("POST", "/compute/compute-1", {"title": "t"}, RESOURCE),
        ("PUT", "/network/network-1", {"title": "t"}, RESOURCE),
        ("PUT", "/network/network-2", {"title": "t"}, COLLECTION),
        ("POST", "/compute/compute-1?action=start", {}, INVOCATION),
        ("POST", "/cmbs/message/", {"attributes": {"cmbs.message.message_content": {"a": [1]}}}, COLLECTION),
        ("POST", "/os_tpl/debian12/", {"X-OCCI-Location": ["/compute/compute-1"]}, COLLECTION),
        ("DELETE", "/compute/", None, COLLECTION),
    ],
)
def test_every_answer_of_12_is_valid(cloud, method, path, body, schema):
    """Issue 4: what is answered in the form of 1.2 validates against the standard's schema."""
    answer = cloud.request(method, path, body, Accept=V12)
    assert answer.status_code in (200, 201), answer.text
    jsonschema.Draft202012Validator(schema).validate(answer.json)
