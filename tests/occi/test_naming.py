"""Names: identifiers, ids, locations, and the two spellings of layers 3.1 and 3.2."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycmbs.errors import InvalidCategory, InvalidRequest
from pycmbs.occi import naming


def test_an_identifier_is_scheme_and_term():
    """GFD.221 4.2: the scheme, which ends in #, followed by the term."""
    assert naming.identifier("http://houssem.org/cmbs#", "member") == "http://houssem.org/cmbs#member"


@pytest.mark.parametrize("term", ["", " ", "a b", "-a", ".a", "é", "a" * 129, None, 5, "a#b", "a/b", "a\n"])
def test_a_term_that_is_none_is_refused(term):
    """A term is letters, digits, '-', '_' and '.', and the error names the field."""
    with pytest.raises(InvalidCategory) as caught:
        naming.identifier("http://houssem.org/cmbs#", term)
    assert caught.value.data["field"] == "term"


@pytest.mark.parametrize("scheme", ["", "http://houssem.org/cmbs", "cmbs#", "http://a b#", None, 5, ["x:y#"], "x:#"])
def test_a_scheme_that_is_none_is_refused(scheme):
    """GFD.221 4.2: a scheme is a URI that ends in '#'."""
    with pytest.raises(InvalidCategory) as caught:
        naming.identifier(scheme, "member")
    assert caught.value.data["field"] == "scheme"


def test_an_identifier_splits_into_what_it_was_made_of():
    """Scheme and term come back from their identifier."""
    assert naming.split_identifier("http://houssem.org/cmbs#l1") == ("http://houssem.org/cmbs#", "l1")


@pytest.mark.parametrize("text", ["member", "http://houssem.org/cmbs#", "#member", "", None, 7, {}])
def test_what_is_no_identifier_does_not_split(text):
    """What holds no scheme and term is an InvalidCategory, whatever its type."""
    with pytest.raises(InvalidCategory):
        naming.split_identifier(text)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("l3.1_socket", "l31_socket"),
        ("cmbs.member.l3.2_socket", "cmbs.member.l32_socket"),
        ("start_l3.1", "start_l31"),
        ("l3.1", "l31"),
        ("l1_socket", "l1_socket"),
        ("l3.10", "l3.10"),
        ("l3.3_socket", "l3.3_socket"),
        ("model3.1", "model3.1"),
    ],
)
def test_the_spelling_of_the_readme_is_an_alias(written, meant):
    """The README's l3.1 and l3.2 are l31 and l32, and nothing else changes."""
    assert naming.canonical(written) == meant


@given(st.text())
def test_a_name_has_one_canonical_spelling(name):
    """What is canonical stays as it is."""
    once = naming.canonical(name)
    assert naming.canonical(once) == once


def test_identifiers_know_the_aliases():
    """A category's identifier is the same in both spellings."""
    scheme = "http://houssem.org/cmbs/member/action#"
    assert naming.identifier(scheme, "start_l3.1") == naming.identifier(scheme, "start_l31")
    assert naming.split_identifier(scheme + "start_l3.1") == (scheme, "start_l31")


@pytest.mark.parametrize("location", ["/cmbs/member/", "/compute/", "/a/b/c/", "/my~stuff/v1.2/"])
def test_a_location_is_a_path_between_slashes(location):
    """GFD.185 3.3: a location starts and ends with '/'."""
    assert naming.check_location(location, "x") == location


@pytest.mark.parametrize(
    "location",
    ["/", "//", "a/", "/a", "/a//b/", "/a b/", "/../", "/a/../b/", "/a/./b/", "", None, 5, "/-/", "/-/a/", "/é/"],
)
def test_what_is_no_location_is_refused(location):
    """Paths that are invalid, that move, or that are the broker's own cannot be a category's location."""
    with pytest.raises(InvalidCategory) as caught:
        naming.check_location(location, "x")
    assert caught.value.data["field"] == "location"


def test_the_well_known_path_is_the_brokers_own():
    """GFD.223 5.4: the query interface's other address belongs to no one else."""
    with pytest.raises(InvalidCategory):
        naming.check_location("/.well-known/org/ogf/occi/-/", "x")


def test_new_ids_are_time_ordered_uuids():
    """RFC 9562, version 7: ids sort in the order of their making."""
    ids = [naming.new_id() for _ in range(100)]
    assert sorted(set(ids)) == ids
    assert {uuid.UUID(one).version for one in ids} == {7}


def test_an_id_may_be_a_urn():
    """GFD.226 4.2.1 recommends urn:uuid:; the bare UUID is the same id."""
    assert naming.bare_id("urn:uuid:996ad860-2a9a-504f-8861-aeafd0b2ae29") == "996ad860-2a9a-504f-8861-aeafd0b2ae29"


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a/b", "a b", "é", "a\n", "urn:uuid:", "urn:uuid:..", "a" * 201, None, 5, [], "a?b"]
)
def test_what_cannot_end_a_path_is_no_id(text):
    """An id is the last segment of the entity's path, so it can hold nothing that would not survive there."""
    with pytest.raises(InvalidRequest) as caught:
        naming.bare_id(text)
    assert caught.value.data["field"] == "id"


@pytest.mark.parametrize("path", ["/a/b", "/cmbs/member/996ad860", "/a"])
def test_a_path_of_an_entity_ends_with_its_id(path):
    """The id is what stands behind the last slash."""
    assert naming.check_path(path) == path.rpartition("/")[2]


@pytest.mark.parametrize(
    "path",
    [
        *("/-/x", "/.well-known/x", "/a/../b", "/a//b", "/a/./b", "/a/b c", "/", "/-"),
        *("/ui", "/ui/x", "/metrics", "/metrics/x", "/livez", "/readyz", "/openapi.json", "/.well-known/api-catalog"),
    ],
)
def test_no_entity_can_be_where_the_broker_is(path):
    """The broker's own paths, and those that mean another one, hold no entity."""
    with pytest.raises(InvalidRequest):
        naming.check_path(path)


@pytest.mark.parametrize("name", ["cmbs.member.state", "a", "a.b-c.d_e", "org.ogf.1x", ".".join("a" * 16)])
def test_an_attribute_is_named_by_dotted_parts(name):
    """GFD.229 5.4: components joined by dots."""
    assert naming.check_attribute(name, "x") == name


@pytest.mark.parametrize("name", ["", ".", "a.", ".a", "a..b", "a b", "a\n", "é", ".".join("a" * 17), "a" * 256])
def test_an_attribute_cannot_be_named_so(name):
    """A name that would be lost on its way through the nested form of 2012 is refused at once."""
    with pytest.raises(InvalidCategory):
        naming.check_attribute(name, "x")
