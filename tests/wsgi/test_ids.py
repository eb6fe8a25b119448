"""Ids: one UUID in any case and spelling is one id, any other is opaque, and what is shown can be sent back."""

from __future__ import annotations

import pytest

from pycmbs.services.records.entities import document_id
from pycmbs.store.base import Write
from tests.wsgi.conftest import INFRA, JSON, V12, text, urls

ID = "aabb1ccd-2a9a-504f-8861-aeafd0b2ae29"
UP = ID.upper()
MIXED = "AABB1ccd-2a9a-504F-8861-aeafd0b2ae29"
SPELLINGS = (ID, UP, MIXED, f"urn:uuid:{ID}", f"urn:uuid:{UP}", f"URN:UUID:{UP}")
KIND = INFRA + "compute"
HERE = "http://localhost"


@pytest.mark.parametrize("given", SPELLINGS)
def test_a_uuid_is_kept_in_lower_case(cloud, given):
    """RFC 9562 4: a UUID is the same in any case. It is kept, shown and located in lower case."""
    made = cloud.request("POST", "/compute/", {"kind": KIND, "id": given})
    assert (made.status_code, made.json["Location"]) == (201, [f"{HERE}/compute/{ID}"])
    assert cloud.request("GET", f"/compute/{ID}").json["id"] == ID
    assert cloud.request("GET", f"/compute/{ID}", Accept=V12).json["id"] == f"urn:uuid:{ID}"


@pytest.mark.parametrize("second", SPELLINGS)
@pytest.mark.parametrize("path", ["/compute/", "/cmbs/member/"])
def test_a_second_entity_of_one_uuid_is_a_conflict(cloud, path, second):
    """However the id is spelled, and of members as of all entities; in text, too."""
    first = {"id": UP, **({"attributes": {"cmbs.member.local": "false"}} if "member" in path else {})}
    assert cloud.request("POST", path, first).status_code == 201
    again = cloud.request("POST", path, {**first, "id": second})
    assert (again.status_code, again.json["error"]["code"]) == (409, "duplicate-id")
    kind = cloud.request("GET", f"{path}{ID}").json["kind"]
    scheme, _, term = kind.rpartition("#")
    said = f'Category: {term}; scheme="{scheme}#"; class="kind"\nX-OCCI-Attribute: occi.core.id="{second}"\n'
    assert text(cloud, "POST", path, said).status_code == 409


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_path_may_spell_a_uuid_in_any_way(cloud, spelling):
    """What is made at a path in one spelling is read, changed, acted on and deleted at any other; it stays one entity."""
    assert cloud.request("PUT", f"/compute/{UP}", {"kind": KIND, "id": MIXED}).status_code == 201
    path = f"/compute/{spelling}"
    assert cloud.request("GET", path).json["id"] == ID
    assert cloud.request("PUT", path, {"kind": KIND, "title": "put"}).status_code == 200
    assert cloud.request("POST", path, {"title": "changed", "id": spelling}).json["title"] == "changed"
    assert cloud.request("POST", f"{path}?action=start", {}).status_code == 200
    network = {"kind": INFRA + "networkinterface", "id": "n", "source": path, "target": "/network/network-1"}
    assert cloud.request("POST", "/networkinterface/", network).status_code == 201
    assert cloud.request("GET", f"/compute/{ID}").json["links"][0]["id"] == "n"
    for end in (path, f"/compute/{ID}", HERE + path):
        assert urls(text(cloud, "GET", f"/networkinterface/?attribute=occi.core.source&value={end}")) == [
            "/networkinterface/n"
        ]
    assert cloud.request("POST", "/resource_tpl/small/", {"X-OCCI-Location": [path, HERE + path]}).status_code == 200
    assert urls(text(cloud, "GET", "/resource_tpl/small/")).count(f"/compute/{ID}") == 1
    assert cloud.request("DELETE", path).status_code == 200
    assert cloud.request("GET", f"/compute/{ID}").status_code == 404
    assert cloud.request("GET", "/networkinterface/n").status_code == 404


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_id_is_found_in_any_spelling(cloud, spelling):
    """In the query, in headers and in a body."""
    cloud.request("POST", "/compute/", {"kind": KIND, "id": UP})
    assert urls(text(cloud, "GET", f"/compute/?attribute=occi.core.id&value={spelling}")) == [f"/compute/{ID}"]
    assert urls(text(cloud, "GET", "/compute/", X_OCCI_Attribute=f'occi.core.id="{spelling}"')) == [f"/compute/{ID}"]
    found = cloud.request("GET", "/compute/", {"resources": [{"id": spelling}]}).json["X-OCCI-Location"]
    assert found == [f"{HERE}/compute/{ID}"]


@pytest.mark.parametrize("id", [UP, "77", "urn:isbn:0451450523", "a:b", "x~(1)!"])
def test_what_1_2_shows_can_be_sent_back(cloud, id):
    """GFD.226 4.1: an id is a URI. It is the same under every name of the broker, and it is taken back."""
    path = cloud.request("POST", "/compute/", {"kind": KIND, "id": id}).json["Location"][0].removeprefix(HERE)
    shown = cloud.request("GET", path, Accept=V12).json
    other = cloud.request("GET", path, Accept=V12, Host="127.8.9.10:99").json
    assert shown["id"] == other["id"]
    assert ":" in shown["id"]
    assert cloud.request("PUT", path, shown).status_code == 200
    assert cloud.request("POST", path, {"id": shown["id"], "title": "again"}).status_code == 200
    assert cloud.request("POST", "/compute/", {"kind": KIND, "id": shown["id"]}).status_code == 409
    assert cloud.request("GET", f"/compute/{shown['id']}").json["title"] == "again"
    found = cloud.request("GET", "/compute/", {"resources": [{"id": shown["id"]}]}).json["X-OCCI-Location"]
    assert found == [HERE + path]


def test_an_id_that_is_a_urn_stays_what_it_is(cloud):
    """An id that the client chose is opaque: it comes back as it was said."""
    cloud.request("POST", "/compute/", {"kind": KIND, "id": "urn:isbn:0451450523"})
    for accept in (JSON, V12):
        assert cloud.request("GET", "/compute/urn:isbn:0451450523", Accept=accept).json["id"] == "urn:isbn:0451450523"


@pytest.mark.parametrize(
    "id",
    ["http://a.example.org/compute/77", f"http://localhost/compute/{ID}", "/compute/77", "https://x/", "ftp://x/1"],
)
def test_a_url_is_no_id(cloud, id):
    """It says where something is: its last part alone would be another id, and maybe someone else's."""
    answer = cloud.request("POST", "/compute/", {"kind": KIND, "id": id})
    assert (answer.status_code, answer.json["error"]["field"]) == (400, "id")
    said = f'Category: compute; scheme="{INFRA}"; class="kind"\nX-OCCI-Attribute: occi.core.id="{id}"\n'
    assert text(cloud, "POST", "/compute/", said).status_code == 400


def test_ids_of_two_kinds_are_two(cloud):
    """Ids are unique below one location only; as URIs they are unique."""
    for kind in ("compute", "network"):
        cloud.request("PUT", f"/{kind}/1", {"kind": INFRA + kind})
    shown = [cloud.request("GET", f"/{kind}/1", Accept=V12).json["id"] for kind in ("compute", "network")]
    assert len(set(shown)) == 2


@pytest.mark.parametrize("spelling", [UP, ID, f"urn:uuid:{UP}"])
def test_what_an_earlier_version_kept_in_upper_case_is_there(cloud, spelling):
    """It is read, found, changed, linked and deleted where it is, and is shown as 1.2 showed it."""
    cloud.request("POST", "/compute/", {"kind": KIND, "id": ID})
    stored = cloud.store.get(document_id(f"/compute/{ID}"))
    old = f"/compute/{UP}"
    body = {**stored.body, "id": UP, "path": old}
    cloud.store.write([Write(document_id(old), stored.type, body, {**stored.keys, "id": (UP,)})])
    cloud.store.write([Write(stored.id, stored.type, revision=stored.revision, delete=True)])
    path = f"/compute/{spelling}"
    shown = cloud.request("GET", path, Accept=V12).json
    assert shown["id"] == f"urn:uuid:{ID}"
    assert urls(text(cloud, "GET", f"/compute/?attribute=occi.core.id&value={spelling}")) == [old]
    network = {"kind": INFRA + "networkinterface", "id": "n", "source": path, "target": "/network/network-1"}
    assert cloud.request("POST", "/networkinterface/", network).status_code == 201
    assert cloud.request("GET", path).json["links"][0]["id"] == "n"
    assert urls(text(cloud, "GET", f"/networkinterface/?attribute=occi.core.source&value={path}")) == [
        "/networkinterface/n"
    ]
    assert cloud.request("PUT", path, shown).status_code == 200
    assert len(urls(text(cloud, "GET", "/compute/"))) == 2
    assert cloud.request("DELETE", path).status_code == 200
    assert urls(text(cloud, "GET", "/compute/")) == ["/compute/compute-1"]
