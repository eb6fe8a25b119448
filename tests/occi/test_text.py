"""The text renderings: literals, round trips, and rubbish."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycmbs.errors import CmbsError, InvalidRequest, MalformedBody
from pycmbs.occi.attribute import AttributeDefinition
from pycmbs.occi.category import LINK, Action, Kind, Mixin
from pycmbs.occi.entity import Draft, Entity
from pycmbs.occi.rendering import EntityView
from pycmbs.occi.rendering import fields as f
from pycmbs.occi.rendering.json_12 import Json12Writer
from pycmbs.occi.rendering.json_2012 import JsonWriter
from pycmbs.occi.rendering.json_reader import JsonReader
from pycmbs.occi.rendering.text import TextReader, TextWriter, category_line
from pycmbs.occi.rendering.uri_list import UriListReader, UriListWriter
from pycmbs.occi.schema import Schema

READ, WRITE = TextReader(), TextWriter()
S = "http://example.org/stuff#"
KIND = 'Category: box; scheme="http://example.org/stuff#"; class="kind"\n'

names = st.from_regex(r"[a-z][a-z0-9_]{0,6}(\.[a-z][a-z0-9_]{0,6}){1,2}", fullmatch=True).filter(
    lambda name: not name.startswith("occi.")
)
terms = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
numbers = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
scalars = texts | numbers | st.booleans()
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
TYPED = {
    "string": texts,
    "number": numbers,
    "boolean": st.booleans(),
    "array": st.lists(values, max_size=3),
    "object": st.dictionaries(texts, values, max_size=3),
    "any": values,
}


@st.composite
def entities(draw):
    """An entity and the definitions of its attributes."""
    definitions, attributes = {}, {}
    for name in draw(st.lists(names, max_size=4, unique=True)):
        type = draw(st.sampled_from(sorted(TYPED)))
        definitions[name] = AttributeDefinition(name, type)
        attributes[name] = draw(TYPED[type])
    entity = Entity("id-1", S + "box", "/box/id-1", (S + "paint",), attributes, draw(texts), draw(texts))
    return EntityView(entity, "http://h/box/id-1", {}, (), definitions)


@settings(max_examples=150, deadline=None)
@given(entities())
def test_an_entity_survives(view):
    """Issue 4: parse(render(x)) == x, in text, in text in headers, and in both forms of JSON."""
    text = WRITE.entity(view, pretty=False)
    schema = Schema(view.definitions)
    forms = [
        READ.drafts(text),
        READ.drafts(f.from_headers(f.as_headers(text))),
        JsonReader().drafts(JsonWriter().entity(view, pretty=True)),
        JsonReader().drafts(Json12Writer().entity(view, pretty=False)),
    ]
    for (draft,) in forms:
        entity = view.entity
        assert (draft.kind, draft.mixins, draft.id) == (entity.kind, entity.mixins, entity.id)
        assert (draft.title or "", draft.summary or "") == (entity.title, entity.summary)
        assert schema.created(draft.attributes or {}) == entity.attributes


@settings(max_examples=100, deadline=None)
@given(terms, texts, st.lists(names, max_size=3, unique=True), st.booleans(), st.booleans())
def test_a_category_survives(term, title, attributes, mutable, required):
    """What text can say of a category is read back as it was (GFD.229 4.1)."""
    definitions = {name: AttributeDefinition(name, "any", mutable, required) for name in attributes}
    for category in (
        Kind(S, term, title, definitions, actions=(S + "go",), location="/x/y/"),
        Mixin(S, term, title, definitions, depends=(S + "other",), actions=(S + "go",), location="/x/"),
        Action(S, term, title, definitions),
    ):
        body = WRITE.categories([category], pretty=False)
        assert READ.categories(body).categories == [category]
        assert READ.category_names(body) == [category.identifier]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from([*(f"{name}:" for name in f.NAMES), "a", "b=", '"', "\\", ";", ",", "<", ">", "=", "\n", " ", "{", "}",
                         'scheme="http://x/y#"', 'class="kind"', 'class="action"', "rel=", "1e999", "[", "?action=x", "é"]),
        max_size=25,
    ).map("".join)
    | st.text(max_size=60)
)  # fmt: skip
def test_rubbish_is_refused_with_the_brokers_own_errors(text):
    """Issue 4: no parser of text or JSON fails in any way but the project's own."""
    body = text.encode("utf-8", "surrogatepass")
    for reader in (READ, JsonReader(), UriListReader()):
        for parse in (
            reader.categories, reader.category_names, reader.category_filter, reader.drafts, reader.entity_filter,
            reader.locations, lambda one, reader=reader: reader.invocation(one, "start"),
        ):  # fmt: skip
            try:
                parse(body)
            except CmbsError:
                continue


def test_several_values_share_a_line():
    """GFD.229 3: with commas between; commas, semicolons and quotes inside of quotes survive."""
    line = KIND + 'X-OCCI-Attribute: occi.core.title="How\'s your quotes escaping? \\", a=1.0", b=true,c=-2.5, d=word\n'
    (draft,) = READ.drafts(line.encode())
    assert draft == Draft(
        S + "box",
        mixins=(),
        title="How's your quotes escaping? \", a=1.0",
        attributes={"b": True, "c": -2.5, "d": "word"},
    )


def test_links_to_actions_are_left_out():
    """Reference 3.4: a client sends back what it read, links to actions among it."""
    body = KIND + (
        f'Link: </box/1?action=go>; rel="{S}go"\n'
        f'Link: <http://h/box/2>; rel="{S}box"; self="/rope/r"; category="{S}rope {S}red"; rope.length=3\n'
    )
    (draft,) = READ.drafts(body.encode())
    attributes = {"rope.length": 3, "occi.core.target": "http://h/box/2", "occi.core.target.kind": S + "box"}
    assert draft.links == [Draft(S + "rope", "r", (S + "red",), attributes)]
    assert READ.drafts((KIND + "Link: </x>\n").encode())[0].links[0].kind == LINK.identifier


def test_a_category_has_its_parameters_in_the_order_of_the_grammar():
    """GFD.229 4.1: term, scheme, class, title, rel, location, attributes, actions."""
    definitions = {"a.b": AttributeDefinition("a.b", mutable=False, required=True), "a.c": AttributeDefinition("a.c")}
    kind = Kind(S, "box", "a box", definitions, actions=(S + "open",), location="/box/")
    assert category_line(kind) == (
        f'box; scheme="{S}"; class="kind"; title="a box"; rel="http://schemas.ogf.org/occi/core#resource"; '
        f'location="/box/"; attributes="a.b{{immutable required}} a.c"; actions="{S}open"'
    )


@pytest.mark.parametrize(
    ("text", "said"), [('"[a, b]"', ["a", "b"]), ('"[\\"a\\"]"', ["a"]), ('"[1, 2]"', [1, 2]), ('"[]"', []), ('""', [])]
)
def test_arrays_in_text(text, said):
    """Issue 4: an array is JSON in a quoted string, or plain words without inner quotes."""
    assert AttributeDefinition("x", "array").check(f.value(text)) == said


@pytest.mark.parametrize(
    "body",
    [b"hello", b"Category: box", b'Category: box; scheme="x', b"X-OCCI-Attribute: a", b"\xff", b"Link: x; rel=y"],
)
def test_what_is_no_text_rendering_is_malformed(body):
    """A line that is not a field, or an invalid value, is refused by name."""
    with pytest.raises(InvalidRequest):
        READ.drafts(body)
    with pytest.raises(MalformedBody):
        READ.drafts(b"")


def test_a_uri_list_holds_urls():
    """RFC 2483 5: a URL a line, comments apart; GFD.229 5: nothing else has this form."""
    urls = ["http://h/a", "http://h/b"]
    assert UriListReader().locations(b"# two\r\n" + UriListWriter().listing(urls, pretty=True)) == urls
    with pytest.raises(InvalidRequest):
        UriListReader().drafts(b"http://h/a")


@pytest.mark.parametrize("part", ["<", "<a ", ";", ",", '"', 'a="b', "\\", "\nLink: <"])
def test_a_body_is_read_in_linear_time(part):
    """A body of 100 kB takes no seconds, whatever it repeats: a request must not hold up the others."""
    data = b"Link: " + part.encode() * (100_000 // len(part))
    began = time.monotonic()
    with contextlib.suppress(CmbsError):
        READ.drafts(data)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("field", ["Category", "Link"])
def test_a_field_that_says_nothing_is_refused(field):
    """Semicolons alone are no category and no link."""
    for read in (READ.drafts, READ.entity_filter, READ.categories, READ.category_names, READ.category_filter):
        with pytest.raises(MalformedBody):
            read(f"{field}: ;;\n".encode())
