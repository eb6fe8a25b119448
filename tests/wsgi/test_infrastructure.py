"""The infrastructure model (GFD.184) over HTTP: links, templates, renderings, filters, pages, tags."""

import json

import pytest

from tests.wsgi.conftest import COMPUTE, INFRA, V12, text, urls


def test_inline_links_are_entities(cloud):
    """GFD.226 4.2: links in a resource are made with it, and are read by themselves and in it."""
    shown = cloud.request("GET", "/compute/compute-1", Accept=V12).json
    assert [link["kind"] for link in shown["links"]] == [INFRA + "storagelink", INFRA + "networkinterface"]
    link = cloud.request("GET", "/storagelink/storagelink-1", Accept=V12).json
    assert (link["source"], link["target"]) == (
        {"location": "/compute/compute-1", "kind": INFRA + "compute"},
        {"location": "/storage/storage-1", "kind": INFRA + "storage"},
    )


def test_a_template_gives_its_defaults(cloud):
    """GFD.184 3.5: the attributes of a resource template are those of the resource, unless it says its own."""
    attributes = cloud.request("GET", "/compute/compute-1", Accept=V12).json["attributes"]
    assert (attributes["occi.compute.cores"], attributes["occi.compute.memory"]) == (1, 2)


@pytest.mark.parametrize("gone", ["/compute/compute-1", "/storage/storage-1"])
def test_a_link_goes_with_its_ends(cloud, gone):
    """GFD.221 4.5.2: a link lives no longer than its source; one whose target went would point nowhere."""
    assert cloud.request("DELETE", gone).status_code == 200
    assert cloud.request("GET", "/storagelink/storagelink-1").status_code == 404


@pytest.mark.parametrize("others", [0, 100])
def test_links_go_with_a_whole_collection(cloud, others):
    """Deleting a collection deletes the links of all its entities and no others, few links or many."""
    for number in range(30):
        link = {"kind": INFRA + "networkinterface", "id": f"n{number}", "target": "/network/network-1"}
        cloud.request("PUT", f"/compute/c{number}", {"kind": INFRA + "compute", "links": [link]})
    for number in range(others):
        link = {"kind": INFRA + "storagelink", "source": "/network/network-1", "target": "/storage/storage-1"}
        cloud.request("PUT", f"/storagelink/s{number}", link)
    assert cloud.request("DELETE", "/compute/").json == {"deleted": 31}
    assert urls(text(cloud, "GET", "/networkinterface/")) == []
    assert len(urls(text(cloud, "GET", "/storagelink/"))) == others


def test_a_links_end_changes_its_sources_tag(cloud):
    """A source is another when its links are: what is shown of it and its ETag change together."""
    before = cloud.request("GET", "/compute/compute-1")
    cloud.request("DELETE", "/storagelink/storagelink-1")
    after = cloud.request("GET", "/compute/compute-1", If_None_Match=before.headers["ETag"])
    assert after.status_code == 200
    assert after.headers["ETag"].partition(".")[0] != before.headers["ETag"].partition(".")[0]


def test_a_link_needs_a_source_that_is_here(cloud):
    """GFD.221 4.5.2: a link belongs to the resource it starts at."""
    link = {"kind": INFRA + "networkinterface", "source": "/compute/none", "target": "/network/network-1"}
    assert cloud.request("POST", "/networkinterface/", link).status_code == 400


def test_text_is_read_and_written(cloud):
    """GFD.229 4: what is posted as text is read as text, links and actions among it."""
    body = COMPUTE + (
        'X-OCCI-Attribute: occi.core.title="a; \\"b\\", c=1", occi.compute.cores=2\n'
        f'Link: </network/network-1>; rel="{INFRA}network"; category="{INFRA}networkinterface"; '
        'occi.networkinterface.mac="00:01"\n'
    )
    answer = text(cloud, "POST", "/compute/", body)
    assert (answer.status_code, answer.content_type) == (201, "text/plain")
    path = answer.headers["Location"].removeprefix("http://localhost")
    lines = text(cloud, "GET", path).text.splitlines()
    assert lines[0] == COMPUTE.strip()
    assert 'X-OCCI-Attribute: occi.core.title="a; \\"b\\", c=1"' in lines
    assert "X-OCCI-Attribute: occi.compute.cores=2" in lines
    assert any(line.startswith('Link: </network/network-1>; rel="' + INFRA) for line in lines)
    assert any(line.startswith(f"Link: <{path}?action=start>; rel=") for line in lines)


def test_what_is_read_as_text_can_be_sent_back(cloud):
    """Reference 3.4: a PUT of all that was read, links to actions among it, changes nothing and is answered with 200."""
    read = text(cloud, "GET", "/compute/compute-1")
    written = text(cloud, "PUT", "/compute/compute-1", read.text)
    assert (written.status_code, written.text) == (200, read.text)


def test_text_in_headers(cloud):
    """GFD.185 3.6.6.2: text/occi has its fields in headers both ways, and says OK in the body."""
    answer = cloud.request(
        "POST", "/compute/", None, Accept="text/occi", Content_Type="text/occi",
        Category=f'compute; scheme="{INFRA}"; class="kind"', X_OCCI_Attribute='occi.core.id="h1", occi.compute.cores=3',
    )  # fmt: skip
    assert (answer.status_code, answer.text) == (201, "OK\n")
    assert answer.headers["X-OCCI-Location"] == answer.headers["Location"] == "http://localhost/compute/h1"
    shown = cloud.request("GET", "/compute/h1", Accept="text/occi", Content_Type=None)
    assert "occi.compute.cores=3" in shown.headers["X-OCCI-Attribute"]
    assert "compute; scheme=" in shown.headers["Category"]


def test_headers_filter(cloud):
    """GFD.223 5.3.2: Category and X-OCCI-Attribute in the headers of a GET are a filter."""
    header = {"Category": f'network; scheme="{INFRA}"; class="kind"'}
    assert urls(text(cloud, "GET", "/", Content_Type="text/occi", **header)) == ["/network/network-1"]
    found = text(cloud, "GET", "/-/", Content_Type="text/occi", **header).text.splitlines()
    assert [line.split(";")[0] for line in found] == ["Category: network"]
    header = {"X_OCCI_Attribute": 'occi.compute.hostname="host-1"'}
    assert urls(text(cloud, "GET", "/compute/", Content_Type=None, **header)) == ["/compute/compute-1"]


def test_a_uri_list(cloud):
    """GFD.229 5: a collection as bare URLs; 400 for what is none."""
    answer = cloud.request("GET", "/compute/", Accept="text/uri-list", Content_Type=None)
    assert (answer.text, answer.content_type) == ("http://localhost/compute/compute-1\n", "text/uri-list")
    assert cloud.request("GET", "/compute/compute-1", Accept="text/uri-list").status_code == 400


def test_a_mixin_is_defined_and_removed_in_text(cloud):
    """GFD.185 3.4.2: a client's own mixin, as a Category."""
    mine = 'Category: mine; scheme="http://example.org/x#"; class="mixin"; location="/mine/"; attributes="x.a{required} x.b"'
    assert text(cloud, "POST", "/-/", mine).status_code == 200
    assert mine.replace('"mixin"; ', '"mixin"; ') in text(cloud, "GET", "/-/?category=mine").text
    assert text(cloud, "DELETE", "/-/", mine).status_code == 200
    assert text(cloud, "GET", "/-/?category=mine").status_code == 404


def test_a_shipped_mixin_cannot_be_removed(front):
    """GFD.185 3.4.2: 403 for a provider's mixin."""
    answer = text(front, "DELETE", "/-/", 'Category: l1; scheme="http://houssem.org/cmbs#"; class="mixin"')
    assert answer.status_code == 403
    assert 'code="forbidden"' in answer.headers["X-OCCI-Error"]
    assert "code: forbidden" in answer.text


def test_a_mixins_collection_is_filled_replaced_and_emptied(cloud):
    """GFD.223 5.5.3 to 5.5.5: POST adds, PUT replaces, DELETE with locations takes away."""
    text(cloud, "POST", "/-/", 'Category: mine; scheme="http://example.org/x#"; class="mixin"; location="/mine/"')
    where = "X-OCCI-Location: http://localhost"
    assert text(cloud, "POST", "/mine/", f"{where}/compute/compute-1").status_code == 200
    assert urls(text(cloud, "GET", "/mine/")) == ["/compute/compute-1"]
    assert text(cloud, "PUT", "/mine/", f"{where}/network/network-1\n{where}/storage/storage-1").status_code == 200
    assert urls(text(cloud, "GET", "/mine/")) == ["/storage/storage-1", "/network/network-1"]
    assert text(cloud, "DELETE", "/mine/", f"{where}/network/network-1").status_code == 200
    assert urls(text(cloud, "GET", "/mine/")) == ["/storage/storage-1"]


def test_rocci_lists_locations_in_an_array(cloud):
    """Reference 3.3: the forms in which clients list locations in JSON."""
    text(cloud, "POST", "/-/", 'Category: mine; scheme="http://example.org/x#"; class="mixin"; location="/mine/"')
    for body in (["/compute/compute-1"], {"resources": [{"kind": INFRA + "network", "id": "network-1"}]}):
        assert cloud.request("POST", "/mine/", body).status_code == 200
    assert urls(text(cloud, "GET", "/mine/")) == ["/network/network-1", "/compute/compute-1"]


def test_an_unbound_path_holds_what_is_below(cloud):
    """GFD.185 3.4.1: a path above collections lists the entities of all of them."""
    cloud.request("PUT", "/my/own/1", {"kind": INFRA + "compute"})
    assert urls(text(cloud, "GET", "/my/")) == ["/my/own/1"]
    assert urls(text(cloud, "GET", "/os_tpl/")) == []
    assert text(cloud, "GET", "/nothing/").status_code == 404
    assert text(cloud, "DELETE", "/my/").status_code == 200
    assert text(cloud, "GET", "/my/own/1").status_code == 404


def test_entities_are_made_at_the_root(cloud):
    """Issue 4: POST / makes entities of any kind, each at its kind's location."""
    answer = cloud.request(
        "POST", "/", {"resources": [{"kind": INFRA + "network", "id": "n"}, {"kind": INFRA + "compute", "id": "c"}]}
    )
    assert answer.json["Location"] == ["http://localhost/network/n", "http://localhost/compute/c"]


def test_pages(cloud):
    """Reference 3.7: pages count from 1; past the end is empty; both parameters or none, and a page has a bound."""
    for number in range(7):
        cloud.request("POST", "/network/", {"id": f"p{number}"})
    everything = urls(text(cloud, "GET", "/network/"))
    paged = [urls(text(cloud, "GET", f"/network/?page={page}&number=3")) for page in (3, 1, 2, 4)]
    assert paged == [everything[6:], everything[:3], everything[3:6], []]
    assert text(cloud, "GET", "/network/?page=1").status_code == 400
    assert text(cloud, "GET", "/network/?page=0&number=3").status_code == 400
    assert text(cloud, "GET", "/network/?page=1&number=100000").status_code == 400
    assert text(cloud, "DELETE", "/network/?page=1&number=3").status_code == 400


def test_lost_updates_are_impossible(cloud):
    """RFC 9110 13.1.1: a change that names another revision than the stored one is a 412, and changes nothing."""
    tag = cloud.request("GET", "/compute/compute-1").headers["ETag"]
    assert cloud.request("POST", "/compute/compute-1", {"title": "first"}, If_Match=tag).status_code == 200
    for method, path, body in (
        ("POST", "/compute/compute-1", {"title": "second"}),
        ("PUT", "/compute/compute-1", {"title": "second"}),
        ("POST", "/compute/compute-1?action=start", {}),
        ("DELETE", "/compute/compute-1", None),
    ):
        assert cloud.request(method, path, body, If_Match=tag).status_code == 412
    assert cloud.request("GET", "/compute/compute-1").json["title"] == "first"
    assert cloud.request("PUT", "/compute/compute-1", {"title": "third"}, If_None_Match="*").status_code == 412
    assert cloud.request("PUT", "/compute/new", {"kind": INFRA + "compute"}, If_None_Match="*").status_code == 201


def test_what_the_client_has_is_not_sent_again(cloud):
    """RFC 9110 13.1.2: 304 for a GET of what the client has."""
    for path in ("/compute/compute-1", "/compute/", "/-/"):
        tag = cloud.request("GET", path).headers["ETag"]
        again = cloud.request("GET", path, If_None_Match=tag)
        assert (again.status_code, again.body, again.headers["ETag"]) == (304, b"", tag)
        assert cloud.request("GET", path, If_Match=tag).status_code == 200
        assert cloud.request("GET", path, If_Match='"1.else"').status_code == 412


@pytest.mark.parametrize("path", ["/-/", "/compute/", "/compute/compute-1"])
def test_options_and_head(cloud, path):
    """RFC 9110 9.3.2, 9.3.7: what a path can do, and a GET without its body."""
    assert "GET, HEAD, OPTIONS" in cloud.request("OPTIONS", path).headers["Allow"]
    head = cloud.request("HEAD", path)
    assert (head.status_code, head.body) == (200, b"")
    assert int(head.headers["Content-Length"]) > 0


def test_gzip_where_it_is_asked_for(cloud):
    """RFC 9110 12.5.3: a long answer is compressed for a client that accepts it, and has a tag of its own."""
    plain = cloud.request("GET", "/-/")
    zipped = cloud.request("GET", "/-/", Accept_Encoding="gzip")
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert len(zipped.body) < len(plain.body) / 3
    assert zipped.headers["ETag"] == plain.headers["ETag"][:-1] + '-gzip"'
    assert cloud.request("GET", "/-/", If_None_Match=zipped.headers["ETag"]).status_code == 304
    assert "Content-Encoding" not in cloud.request("GET", "/-/", Accept_Encoding="gzip;q=0").headers


def test_a_request_has_an_id(cloud):
    """An answer names the request: by the client's own id, or by a new one."""
    assert cloud.request("GET", "/-/", X_Request_Id="abc-1").headers["X-Request-Id"] == "abc-1"
    assert len(cloud.request("GET", "/-/", X_Request_Id="a b").headers["X-Request-Id"]) == 36


@pytest.mark.parametrize(
    ("agent", "status"),
    [("x OCCI/1.3", 501), ("OCCI/2.0", 501), ("x OCCI/1.2", 200), ("OCCI/1.1", 200), ("curl/8", 200)],
)
def test_a_client_of_a_newer_occi_is_told(cloud, agent, status):
    """GFD.223 5.7: 501 only when the client's version is higher."""
    assert cloud.request("GET", "/-/", User_Agent=agent).status_code == status


def test_the_form_of_12_is_asked_for(cloud):
    """By OCCI/1.2 in User-Agent or by the version in Accept; else it is that of 2012."""
    assert "X-OCCI-Location" in cloud.request("GET", "/compute/").json
    for headers in ({"User_Agent": "x OCCI/1.2"}, {"Accept": V12}):
        (shown,) = cloud.request("GET", "/compute/", **headers).json["resources"]
        assert shown["attributes"]["occi.compute.hostname"] == "host-1"
        assert "location" not in shown


def test_an_error_says_the_same_in_every_rendering(cloud):
    """Issue 4: code, status and sentence in JSON, in text, and in X-OCCI-Error."""
    path = "/compute/none"
    error = cloud.request("GET", path).json["error"]
    for accept in ("text/plain", "text/occi", "application/occi+json", "text/uri-list", V12):
        answer = cloud.request("GET", path, Accept=accept)
        assert answer.status_code == error["status"] == 404
        assert f'code="{error["code"]}"' in answer.headers["X-OCCI-Error"]
        assert json.dumps(error["message"]) in answer.headers["X-OCCI-Error"]
    assert f"error: {error['message']}\nstatus: 404\ncode: unknown-entity\n" in text(cloud, "GET", path).text


ACTIONS = "http://schemas.ogf.org/occi/infrastructure/"


def test_an_action_in_text(cloud):
    """GFD.223 5.6.5: the action as a Category, its attributes as X-OCCI-Attribute; 400 for one that does not apply."""
    for term, attribute in (("start", ""), ("stop", 'X-OCCI-Attribute: method="graceful"\n')):
        body = f'Category: {term}; scheme="{ACTIONS}compute/action#"; class="action"\n{attribute}'
        assert text(cloud, "POST", f"/network/network-1?action={term}", body).status_code == 400
        assert text(cloud, "POST", f"/compute/compute-1?action={term}", body).status_code == 200
    assert text(cloud, "POST", "/compute/?action=start").status_code == 200


def state(front, path):
    """An entity's state, and the terms of the actions that are shown."""
    shown = front.request("GET", path, Accept=V12).json
    (found,) = (value for name, value in shown["attributes"].items() if name.endswith(".state"))
    return found, [name.rpartition("#")[2] for name in shown["actions"]]


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        (
            "/compute/compute-1",
            [
                ("inactive", ["start", "save"], "save"),
                ("inactive", ["start", "save"], "start"),
                ("active", ["stop", "restart", "suspend", "save"], "restart"),
                ("active", ["stop", "restart", "suspend", "save"], "suspend"),
                ("suspended", ["start", "save"], "start"),
                ("active", ["stop", "restart", "suspend", "save"], "stop"),
                ("inactive", ["start", "save"], None),
            ],
        ),
        ("/network/network-1", [("inactive", ["up"], "up"), ("active", ["down"], "down"), ("inactive", ["up"], None)]),
        (
            "/storage/storage-1",
            [
                ("offline", ["online", "resize"], "online"),
                ("online", ["offline", "backup", "snapshot", "resize"], "backup"),
                ("online", ["offline", "backup", "snapshot", "resize"], "offline"),
                ("offline", ["online", "resize"], None),
            ],
        ),
    ],
)
def test_actions_lead_from_state_to_state(cloud, path, steps):
    """GFD.184 3.1 to 3.3: only the actions of the state are shown, each leads to the next state, and any other is a 400."""
    every = {term for _, terms, _ in steps for term in terms}
    for before, terms, action in steps:
        assert state(cloud, path) == (before, terms)
        for other in every - set(terms):
            assert cloud.request("POST", f"{path}?action={other}", {}).status_code == 400
        if action:
            assert cloud.request("POST", f"{path}?action={action}", {}).status_code == 200


def test_an_action_on_a_collection_is_done_on_all_or_none(cloud):
    """GFD.185 3.4.1: an action that one entity cannot do now changes none of them."""
    cloud.request("PUT", "/compute/second", {"kind": INFRA + "compute"})
    cloud.request("POST", "/compute/second?action=start", {})
    assert cloud.request("POST", "/compute/?action=start", {}).status_code == 400
    assert state(cloud, "/compute/compute-1")[0] == "inactive"
    cloud.request("POST", "/compute/second?action=stop", {})
    answer = cloud.request("POST", "/compute/?action=start", {}, Accept=V12)
    assert (answer.status_code, answer.json["action"]) == (200, f"{ACTIONS}compute/action#start")
    assert [state(cloud, path)[0] for path in ("/compute/compute-1", "/compute/second")] == ["active", "active"]


def test_resizing_sets_the_size(cloud):
    """GFD.184 3.3: resize needs a size, and the disk has it then."""
    path = "/storage/storage-1"
    error = cloud.request("POST", f"{path}?action=resize", {}).json["error"]
    assert (error["code"], error["attribute"]) == ("invalid-attribute", "size")
    assert cloud.request("POST", f"{path}?action=resize", {"attributes": {"size": 7.5}}).status_code == 200
    assert cloud.request("GET", path, Accept=V12).json["attributes"]["occi.storage.size"] == 7.5


@pytest.mark.parametrize(
    ("attributes", "wrong"), [({"method": "kick"}, "method"), ({"method": 5}, "method"), ({"how": "graceful"}, "how")]
)
def test_an_actions_attributes_are_those_of_its_definition(cloud, attributes, wrong):
    """GFD.221 4.5.4: an action takes what its definition declares; anything else is a 400 that names it, and does nothing."""
    cloud.request("POST", "/compute/compute-1?action=start", {})
    error = cloud.request("POST", "/compute/compute-1?action=stop", {"attributes": attributes}).json["error"]
    assert (error["status"], error["attribute"]) == (400, wrong)
    assert state(cloud, "/compute/compute-1")[0] == "active"


def test_one_of_two_conditional_actions_wins(cloud):
    """RFC 9110 13.1.1: an action changes the entity that its If-Match was of, so that the second of two is a 412."""
    tag = cloud.request("GET", "/compute/compute-1").headers["ETag"]
    assert cloud.request("POST", "/compute/compute-1?action=start", {}, If_Match=tag).status_code == 200
    assert cloud.request("POST", "/compute/compute-1?action=stop", {}, If_Match=tag).status_code == 412
    assert state(cloud, "/compute/compute-1")[0] == "active"


STATES = {"compute": "active", "storage": "online", "network": "active", "networkinterface": "active"}


@pytest.mark.parametrize(("kind", "state"), STATES.items())
def test_a_state_is_reached_by_actions_alone(cloud, kind, state):
    """GFD.184 3: the state is immutable, and says how an instance is: no one begins in another than the first, in any form."""
    ends = {"source": "/compute/compute-1", "target": "/x"} if kind == "networkinterface" else {}
    first = {"storage": "offline"}.get(kind, "inactive")
    name = f"occi.{kind}.state"
    for given, status in ((state, 403), (first, 201)):
        size = {"occi.storage.size": 1} if kind == "storage" else {}
        body = {"kind": INFRA + kind, "attributes": {name: given, **size}, **ends}
        answer = cloud.request("POST", f"/{kind}/", body)
        assert answer.status_code == status
        if status == 403:
            assert (answer.json["error"]["code"], answer.json["error"]["attribute"]) == ("immutable-attribute", name)
        assert cloud.request("PUT", f"/{kind}/put-{given}", body).status_code == status
        said = f'Category: {kind}; scheme="{INFRA}"; class="kind"\nX-OCCI-Attribute: {name}="{given}"\n'
        if not ends and not size:
            assert text(cloud, "POST", f"/{kind}/", said).status_code == status
    path = answer.json["Location"][0].removeprefix("http://localhost")
    assert cloud.request("PUT", path, cloud.request("GET", path, Accept=V12).json).status_code == 200


def test_an_entity_in_another_state_can_be_put_back(cloud):
    """What an action did is sent back by who read it, and is no change."""
    cloud.request("POST", "/compute/compute-1?action=start", {})
    shown = cloud.request("GET", "/compute/compute-1", Accept=V12).json
    assert cloud.request("PUT", "/compute/compute-1", shown).status_code == 200
    assert state(cloud, "/compute/compute-1")[0] == "active"
    shown["attributes"]["occi.compute.state"] = "inactive"
    assert cloud.request("PUT", "/compute/compute-1", shown).status_code == 403


def test_other_immutable_attributes_are_given_once(cloud):
    """A client gives them when it makes the entity, as the ends of a link, and cannot change them then."""
    serial = {"type": "string", "mutable": False, "default": "none"}
    kind = {"term": "disk", "scheme": "http://example.org/x#", "attributes": {"x.serial": serial}}
    cloud.request("POST", "/-/", {"kinds": [kind]})
    assert cloud.request("PUT", "/disk/1", {"attributes": {"x.serial": "a1"}}).status_code == 201
    assert cloud.request("POST", "/disk/1", {"attributes": {"x.serial": "a2"}}).status_code == 403
    assert cloud.request("GET", "/disk/1", Accept=V12).json["attributes"] == {"x.serial": "a1"}
