"""What clients of other people send and how they read the answers, rewritten from the standard's words (GFD.185, GFD.223,
GFD.226, GFD.229) and from how those clients are known to behave."""

from __future__ import annotations

import re

import pytest

from tests.wsgi.conftest import INFRA, JSON, V12, text, urls

CORE = "http://schemas.ogf.org/occi/core#"
HERE = "http://localhost"
FIELD = re.compile(r"(Category|X-OCCI-Attribute|Link|X-OCCI-Location): (.*)")


def parameters(line: str) -> dict[str, str]:
    """The parameters of a category or link, whose values have no quotes inside here."""
    return dict(re.findall(r'([A-Za-z.]+)="([^"]*)"', line))


def tree(names: dict[str, str]) -> dict[str, object]:
    """Attributes as a tree of their names' parts, as clients keep them that build objects of dotted names: what comes later
    takes the place of what is there."""
    found: dict[str, object] = {}
    for name, value in names.items():
        *parts, last = name.split(".")
        level = found
        for part in parts:
            inner = level.get(part)
            if not isinstance(inner, dict):
                inner = level[part] = {}
            level = inner
        level[last] = value
    return found


def attributes(body: str) -> dict[str, str]:
    """The attributes of an entity in text."""
    return dict(re.findall(r'X-OCCI-Attribute: ([^=]+)="?([^"\n]*)', body))


# A client that builds its model of /-/ and demands of every kind that it can be listed


@pytest.mark.parametrize("path", ["/-/", "/.well-known/org/ogf/occi/-/"])
def test_every_kind_and_mixin_has_a_location(cloud, path):
    """A model that is read from /-/ has a location for each kind and mixin, all different, each a path with '/' at both ends,
    in text as in both forms of JSON; and each can be listed."""
    lines = [line for line in text(cloud, "GET", path).text.splitlines() if 'class="action"' not in line]
    said = [parameters(line)["location"] for line in lines]
    for accept in (JSON, V12):
        answer = cloud.request("GET", path, Accept=accept).json
        shown = [one["location"] for class_ in ("kinds", "mixins") for one in answer[class_]]
        assert sorted(shown) == sorted(said)
    assert len(set(said)) == len(said)
    for location in said:
        assert re.fullmatch(r"(/[A-Za-z0-9._~-]+)+/", location)
        assert text(cloud, "GET", location).status_code == 200


def test_the_location_of_the_kind_entity_holds_nothing(cloud):
    """No entity is of this kind itself (GFD.221 4.5.1): it lists none, takes none, and deletes none; '/' is what lists all."""
    assert (text(cloud, "GET", "/entity/").status_code, text(cloud, "GET", "/entity/").text) == (200, "")
    for kind in (CORE + "entity", INFRA + "compute"):
        assert cloud.request("POST", "/entity/", {"kind": kind}).status_code == 400
    assert cloud.request("DELETE", "/entity/").json == {"deleted": 0}
    assert len(urls(text(cloud, "GET", "/"))) > 1


# A client that keeps attributes as a tree


@pytest.mark.parametrize("path", ["/networkinterface/networkinterface-1", "/storagelink/storagelink-1"])
def test_a_tree_of_a_links_attributes_has_its_ends(cloud, path):
    """No name of an attribute in text is the beginning of another, so both ends are there, and are text."""
    core = tree(attributes(text(cloud, "GET", path).text))["occi"]["core"]
    assert core["source"] == "/compute/compute-1"
    assert core["target"].startswith("/")


def test_a_tree_of_a_kinds_attributes_has_the_ends(cloud):
    """The same of the definition in /-/."""
    defined = re.sub(r"[{][^}]*[}]", "", parameters(text(cloud, "GET", "/-/?category=link").text)["attributes"])
    assert defined.split() == ["occi.core.source", "occi.core.target"]


def test_what_is_read_in_text_can_be_put_back(cloud):
    """A link that a client reads, changes and sends back whole keeps its ends, and what kind they are of."""
    path = "/networkinterface/networkinterface-1"
    before = cloud.request("GET", path, Accept=V12).json
    read = text(cloud, "GET", path).text
    assert text(cloud, "PUT", path, read).status_code == 200
    after = cloud.request("GET", path, Accept=V12).json
    assert (after["source"], after["target"]) == (before["source"], before["target"])
    assert after["target"]["kind"] == INFRA + "network"


# Clients of 2012 and 2013, which know no parent


def test_a_model_of_2012_finds_relations(cloud):
    """The drafts of 2012 have one word for parent and depends; it is shown besides, and what is shown can be put back."""
    answer = cloud.request("GET", "/-/").json
    kinds = {one["scheme"] + one["term"]: one for one in answer["kinds"]}
    assert kinds[INFRA + "compute"]["related"] == [CORE + "resource"] == [kinds[INFRA + "compute"]["parent"]]
    assert kinds[CORE + "entity"]["related"] == []
    for mixin in answer["mixins"]:
        assert mixin["related"] == mixin["depends"]
    ours = {"kinds": [kinds[INFRA + "compute"]], "mixins": [one for one in answer["mixins"] if "ogf" in one["scheme"]]}
    assert cloud.request("PUT", "/-/", ours).status_code == 200
    assert cloud.request("GET", "/-/").json == answer
    wanted = {"kinds": [{"related": [CORE + "link"]}]}
    found = cloud.request("GET", "/-/", wanted).json["kinds"]
    assert {one["term"] for one in found} >= {"networkinterface", "storagelink"}


def test_the_drafts_own_kind_is_taken(cloud):
    """The draft of May 2012 writes the bounds of its example in quotes."""
    cores = {"mutable": True, "required": False, "type": "Number", "minimum": "1", "maximum": "16"}
    kind = {
        "term": "host",
        "scheme": "http://example.org/occi#",
        "title": "a host",
        "related": [CORE + "resource"],
        "attributes": {"example": {"host": {"cores": cores}}},
        "actions": [],
        "location": "/host/",
    }
    assert cloud.request("POST", "/-/", {"kinds": [kind], "actions": [], "mixins": []}).status_code == 200
    for number, status in ((0, 400), (1, 201), (16, 201), (17, 400)):
        body = {"resources": [{"attributes": {"example": {"host": {"cores": number}}}}]}
        assert cloud.request("POST", "/host/", body).status_code == status


# A client of 1.2 that believes the types it is told


def test_what_has_no_value_is_left_out(cloud):
    """GFD.226 4.3: an attribute that is shown as an object is one, or is not there; what is left out can be put back so."""
    kind = "http://houssem.org/cmbs#message"
    types = {"object": dict, "array": list, "string": str, "boolean": bool}
    path = cloud.request("POST", "/cmbs/message/", {"kind": kind}).json["Location"][0].partition("localhost")[2]
    shown = cloud.request("GET", path, Accept=V12).json
    assert "cmbs.message.result" not in shown["attributes"]
    described = cloud.request("GET", "/-/?category=message", Accept=V12).json["kinds"][0]["attributes"]
    for name, value in shown["attributes"].items():
        said = described.get(name, {}).get("type")
        assert isinstance(value, types.get(said, object)), name
    assert cloud.request("PUT", path, shown, Accept=V12).json == shown


# GFD.185's own examples, which it prints with lines that are folded


def test_a_mixin_as_the_standard_registers_it(cloud):
    """GFD.185 3.4.1: the example refers to a mixin that no server has."""
    lines = [
        "Category: my_stuff;",
        '  scheme="http://example.com/occi/my_stuff#";',
        '  class="mixin";',
        '  rel="http:/example.com/occi/something_else#mixin";',
        '\tlocation="/my_stuff/"',
    ]
    for end in ("\n", "\r\n"):
        assert text(cloud, "POST", "/-/", end.join(lines) + end).status_code == 200
    shown = parameters(text(cloud, "GET", "/-/?category=my_stuff").text)
    assert (shown["rel"], shown["location"]) == ("http:/example.com/occi/something_else#mixin", "/my_stuff/")
    assert text(cloud, "POST", "/my_stuff/", f"X-OCCI-Location: {HERE}/compute/compute-1\n").status_code == 200
    assert urls(text(cloud, "GET", "/my_stuff/")) == ["/compute/compute-1"]
    assert text(cloud, "DELETE", "/-/", "\n".join(lines[:3])).status_code == 200


def test_an_entity_in_folded_lines(cloud):
    """GFD.185 3.4.2, 3.5.4: a line that begins with a blank goes on with the one before, in whatever field that is."""
    body = "\n".join(
        [
            "Category: compute;",
            f'    scheme="{INFRA}";',
            '    class="kind";',
            'X-OCCI-Attribute: occi.compute.hostname="foldedhost",',
            "    occi.compute.cores=2",
            "",
            "Link: </network/network-1>;",
            f'\trel="{INFRA}network";',
            f'\tcategory="{INFRA}networkinterface";',
            '\tocci.networkinterface.interface="eth0"',
            'X-OCCI-Attribute: occi.core.title="a long',
            '  title"',
            "",
        ]
    )
    path = text(cloud, "POST", "/compute/", body).headers["Location"].removeprefix(HERE)
    shown = cloud.request("GET", path, Accept=V12).json
    assert shown["attributes"]["occi.compute.hostname"] == "foldedhost"
    assert (shown["attributes"]["occi.compute.cores"], shown["title"]) == (2, "a long title")
    assert shown["links"][0]["attributes"]["occi.networkinterface.interface"] == "eth0"


def test_fields_may_all_be_indented(cloud):
    """An indented line that is a field is one: bodies are pasted from documents as they stand there."""
    body = f'  Category: compute; scheme="{INFRA}"; class="kind"\n  X-OCCI-Attribute: occi.compute.cores=3\n'
    made = text(cloud, "POST", "/compute/", body)
    shown = cloud.request("GET", made.headers["Location"].removeprefix(HERE), Accept=V12).json
    assert shown["attributes"]["occi.compute.cores"] == 3


def test_a_fold_is_no_field(cloud):
    """What goes on belongs to the field before: a mistake in it is still one, and names the line on which that begins."""
    body = f'Category: compute; scheme="{INFRA}"; class="kind"\nX-OCCI-Attribute: occi.compute.cores=1\n  and more\n'
    answer = text(cloud, "POST", "/compute/", body, Accept=JSON)
    assert answer.status_code == 400
    first = text(cloud, "POST", "/compute/", "\nnonsense\n", Accept=JSON).json["error"]
    assert first["line"] == 2


# Clients of 1.2: collections of links alone, and locations, which other servers show and read


LINK = {"kind": INFRA + "storagelink", "source": {"location": "/compute/compute-1"}, "target": {"location": "/x"}}


@pytest.mark.parametrize("path", ["/storagelink/l1", "/my/own/l1", "/os_tpl/l1"])
def test_a_link_alone_can_be_made_anywhere(cloud, path):
    """GFD.226 4.2: a collection that has one link is that link, at whatever path no resource would be."""
    for status in (201, 200):
        assert cloud.request("PUT", path, {"links": [LINK]}).status_code == status
        assert cloud.request("GET", path, Accept=V12).json["kind"] == INFRA + "storagelink"
    assert cloud.request("POST", path, {"links": [{"title": "changed"}]}).json["title"] == "changed"


def test_links_alone_at_a_resource_are_its_links(cloud):
    """A part of a resource that has only links is that."""
    link = {"kind": INFRA + "storagelink", "target": {"location": "/x"}}
    assert cloud.request("PUT", "/compute/with", {"links": [link]}).status_code == 201
    assert cloud.request("GET", "/compute/with", Accept=V12).json["links"][0]["target"] == {"location": "/x"}


@pytest.mark.parametrize("location", ["/compute/here", f"{HERE}/compute/here", "/my/own/here"])
@pytest.mark.parametrize("id", [{}, {"id": "here"}])
def test_an_entity_is_made_where_it_says_that_it_is(cloud, location, id):
    """The location of a new entity is heeded, as URL or path, with and without an id; and so it is of an inline link."""
    link = {"kind": INFRA + "storagelink", "target": "/x", "location": "/storagelink/near"}
    entity = {"kind": INFRA + "compute", "location": location, "links": [link], **id}
    made = cloud.request("POST", "/compute/", {"resources": [entity]})
    path = location.removeprefix(HERE)
    assert (made.status_code, made.json["Location"]) == (201, [HERE + path])
    assert cloud.request("GET", path).json["id"] == "here"
    assert cloud.request("GET", "/storagelink/near").status_code == 200
    assert cloud.request("POST", "/compute/", {"resources": [entity]}).status_code == 409
    for method in ("PUT", "POST"):
        assert cloud.request(method, path, {"location": location, "title": "t"}).status_code == 200


@pytest.mark.parametrize(
    "given",
    [{"location": "/compute/a", "id": "b"}, {"location": "/compute/"}, {"location": "/-/x"}, {"location": 5},
     {"location": "compute"}, {"location": "/a//b"}],
)  # fmt: skip
def test_an_entity_that_says_two_places_is_refused(cloud, given):
    """A location that contradicts the id or the URL, or where nothing can be, is a 400 that says so."""
    answer = cloud.request("POST", "/compute/", {"kind": INFRA + "compute", **given})
    assert (answer.status_code, answer.json["error"]["field"]) in ((400, "location"), (400, "id"))
    for method, path in (("PUT", "/compute/new"), ("PUT", "/compute/compute-1"), ("POST", "/compute/compute-1")):
        body = {"kind": INFRA + "compute", "location": "/compute/elsewhere"}
        assert cloud.request(method, path, body).json["error"]["field"] == "location"


def test_a_link_keeps_its_ends(cloud):
    """GFD.226 4.2: source and target are immutable; the same again is no change, in any form."""
    path = "/storagelink/storagelink-1"
    shown = cloud.request("GET", path, Accept=V12).json
    assert cloud.request("POST", path, {"target": shown["target"]}).status_code == 200
    for body in ({"target": "/storage/other"}, {"source": {"location": "/compute/other"}}):
        answer = cloud.request("POST", path, body)
        assert (answer.status_code, answer.json["error"]["code"]) == (403, "immutable-attribute")


# EGI's command line (rOCCI-cli), and what else is built on its library: text, several types at once, parameters without blanks,
# categories with all that /-/ says of them

BOTH = "text/plain,text/occi"
ROCCI = {"Content_Type": BOTH, "Accept": BOTH, "User_Agent": "rOCCI-core/4.3 OCCI/1.1"}


def line(term: str, class_: str, scheme: str = INFRA, **others: str) -> str:
    """A category without a blank between its parameters."""
    more = "".join(f';{name}="{value}"' for name, value in others.items())
    return f'Category: {term};scheme="{scheme}";class="{class_}"{more}\n'


def test_the_command_line_of_egi(cloud):
    """Its day: discover, list templates, create a machine, describe it, attach a disk to it, stop it, detach, delete."""
    model = cloud.request("GET", "/-/", **ROCCI)
    assert (model.status_code, model.content_type) == (200, "text/plain")
    assert 'location="/compute/"' in model.text
    body = (
        line("compute", "kind", location="/compute/", title="Compute Resource")
        + line("debian12", "mixin", "http://houssem.org/cmbs/os_tpl#", location="/os_tpl/debian12/", title="Debian")
        + 'X-OCCI-Attribute: occi.core.id="AABB1CCD-2a9a-504f-8861-aeafd0b2ae29"\n'
        + 'X-OCCI-Attribute: occi.core.title="My VM"\nX-OCCI-Attribute: occi.compute.cores=2\n'
    )
    made = cloud.request("POST", "/compute/", body.encode(), **ROCCI)
    assert made.status_code == 201
    path = made.headers["Location"].removeprefix(HERE)
    assert made.text == f"X-OCCI-Location: {HERE}{path}\n"
    assert urls(cloud.request("GET", "/compute/", **ROCCI)) == ["/compute/compute-1", path]
    shown = attributes(cloud.request("GET", path, **ROCCI).text)
    assert (shown["occi.core.title"], shown["occi.compute.state"]) == ("My VM", "inactive")

    disk = line("storagelink", "kind") + (
        f'X-OCCI-Attribute: occi.core.source="{path}"\nX-OCCI-Attribute: occi.core.target="/storage/storage-1"\n'
    )
    attached = cloud.request("POST", "/storagelink/", disk.encode(), **ROCCI)
    assert attached.status_code == 201
    link = attached.headers["Location"].removeprefix(HERE)
    core = tree(attributes(cloud.request("GET", link, **ROCCI).text))["occi"]["core"]
    assert (core["source"], core["target"]) == (path, "/storage/storage-1")
    assert f'self="{link}"' in cloud.request("GET", path, **ROCCI).text

    for term, status in (("stop", 400), ("start", 200), ("stop", 200)):
        act = line(term, "action", f"{INFRA[:-1]}/compute/action#", title=term.capitalize())
        method = 'X-OCCI-Attribute: method="graceful"\n' if term == "stop" else ""
        assert cloud.request("POST", f"{path}?action={term}", (act + method).encode(), **ROCCI).status_code == status
    for gone in (link, path):
        assert cloud.request("DELETE", gone, **{**ROCCI, "Content_Type": None}).status_code == 200
        assert cloud.request("GET", gone, **ROCCI).status_code == 404


@pytest.mark.parametrize(
    "type", [BOTH, "text/plain, text/occi", "text/plain;charset=utf-8,text/occi", "text/occi+plain"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_the_infrastructure_manager(cloud, type, end):
    """Two media types in one Content-Type, a category that ends with a semicolon, and a last line that may have no end."""
    text_occi = {"Content_Type": type, "Accept": "text/plain", "User_Agent": "IM/1.0", "Connection": "close"}
    stop = end or "\n"
    card = 'occi.networkinterface.interface="eth0"; occi.networkinterface.mac="00:11:22:33:44:55"'
    lines = [
        f'Category: compute; scheme="{INFRA}"; class="kind";',
        'Category: debian12; scheme="http://houssem.org/cmbs/os_tpl#"; class="mixin";',
        'X-OCCI-Attribute: occi.core.title="node-1"',
        'X-OCCI-Attribute: occi.compute.hostname="node-1"',
        f'Link: </network/network-1>; rel="{INFRA}network"; category="{INFRA}networkinterface"; {card}',
    ]
    made = cloud.request("POST", "/compute/", (stop.join(lines) + end).encode(), **text_occi)
    assert made.status_code == 201
    path = re.fullmatch(r"X-OCCI-Location: http://localhost(/compute/.*)\n", made.text)[1]
    shown = cloud.request("GET", path, **text_occi).text
    assert 'occi.compute.hostname="node-1"' in shown
    assert "Link: </network/network-1>" in shown
    disk = f'Category: storage; scheme="{INFRA}"; class="kind"{stop}X-OCCI-Attribute: occi.storage.size=10{end}'
    assert cloud.request("POST", "/storage/", disk.encode(), **text_occi).status_code == 201
    start = f'Category: start;scheme="{INFRA[:-1]}/compute/action#";class="action";{end}'
    assert cloud.request("POST", f"{path}?action=start", start.encode(), **text_occi).status_code == 200
    assert 'occi.compute.state="active"' in cloud.request("GET", path, **text_occi).text
    assert cloud.request("DELETE", path, **{**text_occi, "Content_Type": None}).status_code == 200


def test_a_client_that_puts_everything_into_headers(cloud):
    """text/occi (GFD.185 3.6.1): fields are headers, values may share one, and the body says nothing."""
    debian = 'debian12; scheme="http://houssem.org/cmbs/os_tpl#"; class="mixin"'
    said = {
        "Category": f'compute; scheme="{INFRA}"; class="kind", {debian}',
        "X_OCCI_Attribute": 'occi.compute.cores=2, occi.core.title="a, b; c"',
        "Link": f'</network/network-1>; rel="{INFRA}network"; category="{INFRA}networkinterface"',
    }
    occi = {"Content_Type": "text/occi", "Accept": "text/occi"}
    made = cloud.request("POST", "/compute/", None, **said, **occi)
    assert (made.status_code, made.text.strip()) == (201, "OK")
    path = made.headers["Location"].removeprefix(HERE)
    shown = cloud.request("GET", path, **{**occi, "Content_Type": None})
    assert 'occi.core.title="a, b; c"' in shown.headers["X-OCCI-Attribute"]
    assert "</network/network-1>" in shown.headers["Link"]
