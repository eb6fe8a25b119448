"""What clients and conformance suites other than ours send, and what they need to see (reference 2, 3 and 6)."""

import pytest

from tests.wsgi.conftest import COMPUTE, INFRA, JSON, V12, text, urls

DEBIAN = 'Category: debian12; scheme="http://houssem.org/cmbs/os_tpl#"; class="mixin"\n'
SMALL = 'Category: small; scheme="http://houssem.org/cmbs/resource_tpl#"; class="mixin"\n'
HERE = "http://localhost"


def mixins(front, path):
    """The terms of an entity's mixins."""
    return [name.rpartition("#")[2] for name in front.request("GET", path).json["mixins"]]


def test_the_core_kinds_have_their_attributes(cloud):
    """GFD.221 4.5.1, 4.5.2: a client that builds its model from /-/ finds id, title and summary there."""
    answer = text(cloud, "GET", "/-/")
    entity, resource = answer.text.splitlines()[:2]
    assert 'attributes="occi.core.id{immutable} occi.core.title"' in entity
    assert 'attributes="occi.core.summary"' in resource
    kinds = cloud.request("GET", "/-/", Accept=V12).json["kinds"]
    assert kinds[0]["attributes"]["occi.core.id"]["mutable"] is False
    assert set(kinds[1]["attributes"]) == {"occi.core.summary"}


def test_a_partial_update_in_text_leaves_mixins(cloud):
    """GFD.185 3.4.4: a POST with the kind's Category and an attribute changes that attribute only."""
    text(cloud, "PUT", "/compute/rocci", COMPUTE + DEBIAN + SMALL)
    assert (
        text(cloud, "POST", "/compute/rocci", COMPUTE + "X-OCCI-Attribute: occi.compute.cores=3\n").status_code == 200
    )
    assert mixins(cloud, "/compute/rocci") == ["debian12", "small"]


def test_a_partial_update_in_text_adds_mixins(cloud):
    """GFD.185 3.4.4: mixins that a POST names come to those there; a PUT replaces them."""
    text(cloud, "PUT", "/compute/rocci", COMPUTE + DEBIAN)
    text(cloud, "POST", "/compute/rocci", SMALL)
    assert mixins(cloud, "/compute/rocci") == ["debian12", "small"]
    text(cloud, "PUT", "/compute/rocci", COMPUTE + SMALL)
    assert mixins(cloud, "/compute/rocci") == ["small"]


def test_a_change_is_answered_in_a_list_of_uris(cloud):
    """A change that was made is not answered with 400, whatever the client accepts: text/uri-list has the entity's URL."""
    for method in ("PUT", "POST"):
        answer = text(cloud, method, "/compute/compute-1", COMPUTE, Accept="text/uri-list")
        assert (answer.status_code, answer.text) == (200, f"{HERE}/compute/compute-1\n")
    assert text(cloud, "GET", "/compute/compute-1", Accept="text/uri-list").status_code == 400


def test_an_error_is_no_list_of_uris(cloud):
    """RFC 2483 5: what says text/uri-list holds URIs."""
    answer = text(cloud, "GET", "/compute/none", Accept="text/uri-list")
    assert (answer.status_code, answer.content_type) == (404, "text/plain")


@pytest.mark.parametrize("accept", ["text/plain", "text/occi", "text/uri-list"])
def test_an_action_on_a_collection_in_text(cloud, accept):
    """GFD.223 5.5.3: the answer lists what was acted on, in fields that every parser of OCCI's text knows."""
    answer = text(cloud, "POST", "/compute/?action=start", Accept=accept)
    found = answer.headers.get("X-OCCI-Location") or answer.text.strip()
    assert found.removeprefix("X-OCCI-Location: ") == f"{HERE}/compute/compute-1"
    assert "X-OCCI-Attribute" not in answer.text


@pytest.mark.parametrize("body", [{"resources": []}, {"links": []}, {"X-OCCI-Location": []}, []])
def test_a_mixin_can_lose_all_its_entities(cloud, body):
    """GFD.223 5.5.4: the empty collection, in any form, is the whole new membership."""
    assert cloud.request("PUT", "/resource_tpl/small/", body).status_code == 200
    assert urls(text(cloud, "GET", "/resource_tpl/small/")) == []
    assert cloud.request("POST", "/resource_tpl/small/", body).status_code == 400


def test_the_charset_is_said_where_it_matters(cloud):
    """RFC 6657: text that is not ASCII says that it is UTF-8; other text has the type alone, as suites of 2011 compare it."""
    plain = text(cloud, "GET", "/compute/compute-1")
    assert plain.headers["Content-Type"] == "text/plain"
    text(cloud, "POST", "/compute/compute-1", 'X-OCCI-Attribute: occi.core.title="häst"\n')
    assert text(cloud, "GET", "/compute/compute-1").headers["Content-Type"] == "text/plain; charset=utf-8"
    assert cloud.request("GET", "/compute/compute-1").headers["Content-Type"] == JSON
    assert text(cloud, "GET", "/compute/compute-1", Accept="text/occi").headers["Content-Type"] == "text/occi"


@pytest.mark.parametrize("path", ["/-/", "/compute/", "/compute/compute-1", "/compute/none"])
def test_caches_know_what_an_answer_depends_on(cloud, path):
    """RFC 9110 12.5.5: short answers and errors, too, depend on Accept, and on the version in User-Agent."""
    assert cloud.request("GET", path).headers["Vary"] == "Accept, Accept-Encoding, User-Agent"


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("occi.core.id", "compute-1", True),
        ("occi.core.id", "other", False),
        ("occi.core.title", "a machine with a disk and a network", True),
        ("occi.core.summary", "x", False),
        ("occi.core.title", "x" * 600, False),
    ],
)
def test_filters_by_what_stands_beside_the_attributes(cloud, name, value, found):
    """GFD.185 3.4.1: id, title and summary filter as attributes do, in the query and in headers; none is ignored."""
    expected = ["/compute/compute-1"] if found else []
    assert urls(text(cloud, "GET", f"/compute/?attribute={name}&value={value}")) == expected
    assert urls(text(cloud, "GET", "/compute/", X_OCCI_Attribute=f'{name}="{value}"')) == expected


@pytest.mark.parametrize("end", ["/compute/compute-1", f"{HERE}/compute/compute-1"])
def test_links_are_found_by_either_form_of_their_end(cloud, end):
    """A link's end is the same as path and as URL, in filters as in links."""
    assert urls(text(cloud, "GET", f"/storagelink/?attribute=occi.core.source&value={end}")) == [
        "/storagelink/storagelink-1"
    ]
    filtered = text(cloud, "GET", "/networkinterface/", X_OCCI_Attribute=f'occi.core.source="{end}"')
    assert urls(filtered) == ["/networkinterface/networkinterface-1"]


@pytest.mark.parametrize(
    ("type", "body"),
    [
        ("text/plain", f"X-OCCI-Location: {HERE}/compute/other\n"),
        ("text/plain", f'Link: </network/network-1>; rel="{INFRA}network"\n'),
        (JSON, '{"resources": [{"location": "/compute/other"}]}'),
        (JSON, '{"location": "/compute/other"}'),
        (JSON, '{"X-OCCI-Location": ["/compute/other"]}'),
        ("text/uri-list", f"{HERE}/compute/other\n"),
    ],
)
def test_what_is_no_filter_deletes_nothing(cloud, type, body):
    """A DELETE of a collection whose body would not be heeded is refused: it would delete everything."""
    assert text(cloud, "DELETE", "/compute/", body, Content_Type=type).status_code == 400
    assert urls(text(cloud, "GET", "/compute/")) == ["/compute/compute-1"]


def test_locations_make_no_entity(cloud):
    """X-OCCI-Location at a kind's location is a mistake, and makes no empty entity."""
    assert text(cloud, "POST", "/compute/", f"X-OCCI-Location: {HERE}/compute/compute-1\n").status_code == 400


def test_a_category_may_be_said_twice(cloud):
    """A kind that a client names twice is one kind."""
    assert text(cloud, "POST", "/compute/", COMPUTE + COMPUTE).status_code == 201
    storage = f'Category: storage; scheme="{INFRA}"; class="kind"\n'
    assert text(cloud, "POST", "/compute/", COMPUTE + storage).status_code == 400


@pytest.mark.parametrize("action", [f"{INFRA[:-1]}/compute/action#start", "start"])
def test_an_action_in_json_is_an_identifier_or_a_term(cloud, action):
    """GFD.226 4.7 has the identifier; the term alone says no more than the URL, and no less."""
    assert cloud.request("POST", "/compute/compute-1?action=start", {"action": action}).status_code == 200
    assert cloud.request("POST", "/compute/compute-1?action=stop", {"action": action}).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/compute/", None),
        ("POST", "/compute/", {"kind": INFRA + "compute"}),
        ("POST", "/compute/?action=start", {}),
        ("PUT", "/resource_tpl/small/", []),
        ("POST", "/-/", {"actions": [{"term": "x", "scheme": "http://example.org/x#"}]}),
        ("DELETE", "/-/", {"mixins": ["http://houssem.org/cmbs/os_tpl#debian12"]}),
    ],
)
def test_a_collections_tag_protects_nothing(cloud, method, path, body):
    """RFC 9110 13.1.1: a condition that cannot be checked together with the change is not passed over: 412."""
    tag = cloud.request("GET", path.partition("?")[0]).headers["ETag"]
    assert cloud.request(method, path, body, If_Match=tag).status_code == 412
    assert cloud.request(method, path, body, If_None_Match="*").status_code == 412
    assert cloud.request("GET", path.partition("?")[0], If_None_Match=tag).status_code == 304
    assert cloud.request(method, path, body, If_Match="*").status_code in (200, 201)


def test_a_page_is_said_once(cloud):
    """Two numbers of a page are a mistake, and not the last of them."""
    assert text(cloud, "GET", "/compute/?page=1&page=2&number=1").status_code == 400


def test_a_category_that_is_not_there_cannot_be_deleted(cloud):
    """DELETE of an unknown mixin is a 404 that does not speak of kinds."""
    answer = text(cloud, "DELETE", "/-/", 'Category: none; scheme="http://example.org/x#"; class="mixin"')
    assert answer.status_code == 404
    assert "there is no category" in answer.text


def test_links_alone_are_added_to_a_resource(cloud):
    """GFD.226 4.1: a part of a resource that has only links is that, and no collection of links; at a link's path it is one."""
    link = {"kind": INFRA + "networkinterface", "id": "n2", "target": {"location": "/network/network-1"}}
    assert cloud.request("POST", "/compute/compute-1", {"links": [link]}).status_code == 200
    assert cloud.request("GET", "/networkinterface/n2", Accept=V12).json["source"]["location"] == "/compute/compute-1"
    change = {"kind": INFRA + "networkinterface", "title": "second"}
    assert cloud.request("POST", "/networkinterface/n2", {"links": [change]}).status_code == 200
    assert cloud.request("GET", "/networkinterface/n2").json["title"] == "second"
