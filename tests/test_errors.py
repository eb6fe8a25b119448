"""The tree of errors: drawn, coded, answered with a status, and able to cross the federation."""

import re

import pytest

from pycmbs import errors
from pycmbs.errors import CmbsError, RemoteError, StoreUnavailable, UnknownEntity, from_dict
from pycmbs.wsgi.errors import status_of

LINE = re.compile(r"^    ((?:[│ ]   )*(?:[├└]── )?)([A-Z]\w+) +(\S.*)$", re.MULTILINE)


def tree(base=CmbsError):
    """Every class below ``base``, and itself."""
    return [base, *(one for child in base.__subclasses__() for one in tree(child))]


CLASSES = [one for one in tree() if one.__module__.startswith("pycmbs.errors.")]


def drawn():
    """The drawing: per class its parent and its sentence."""
    path, found = [], {}
    for indent, name, sentence in LINE.findall(errors.__doc__):
        depth = len(indent) // 4
        path[depth:] = [name]
        found[name] = (path[depth - 1] if depth else "Exception", sentence)
    return found


def test_the_drawing_is_the_tree():
    """The docstring of the package shows every class below its parent."""
    assert {name: parent for name, (parent, _) in drawn().items()} == {
        one.__name__: one.__base__.__name__ for one in CLASSES
    }


@pytest.mark.parametrize("cls", CLASSES, ids=lambda one: one.__name__)
def test_a_class_says_what_its_line_says(cls):
    """The sentence in the drawing is the beginning of the class's own."""
    sentence = drawn()[cls.__name__][1].lower().rstrip(".")
    assert cls.__doc__.lower().startswith(sentence.partition(";")[0])


def test_codes_are_stable_and_unique():
    """The codes are API: each class has its own."""
    codes = [one.code for one in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize(
    ("names", "statuses"),
    [
        ("CmbsError ConfigurationError", {500}),
        ("InvalidRequest MalformedBody InvalidAttribute InvalidCategory InvalidAddress", {400}),
        ("NotFound UnknownEntity UnknownCategory UnknownLocation", {404}),
        ("Forbidden ImmutableAttribute", {403}),
        ("Conflict DuplicateId RevisionConflict CategoryConflict SecondLocalMember NoLocalMember NotSendable", {409}),
        ("NotExecutable SocketUnavailable", {409}),
        ("MethodNotAllowed", {405}),
        ("NotAcceptable", {406}),
        ("UnsupportedMediaType", {415}),
        ("TooLarge", {413}),
        ("Unavailable StoreUnavailable EngineUnavailable QueueFull OverQuota", {429, 503}),
        ("RemoteError BadEnvelope", {502}),
    ],
)
def test_every_error_has_its_status(names, statuses):
    """RFC 9110 15, GFD.223 5.7: what each class is answered with."""
    assert {status_of(getattr(errors, name)("x")) for name in names.split()} <= statuses


@pytest.mark.parametrize("cls", CLASSES, ids=lambda one: one.__name__)
def test_every_class_has_a_status(cls):
    """A new class cannot be forgotten in the table."""
    assert 400 <= status_of(cls("x")) < 600


@pytest.mark.parametrize("cls", CLASSES, ids=lambda one: one.__name__)
def test_an_error_crosses_the_federation(cls):
    """What is told as data is the same error on the other side."""
    told = cls("it failed", hint="do this", attribute="a")
    heard = from_dict(told.to_dict())
    assert (type(heard), heard.to_dict()) == (cls, told.to_dict())


def test_an_unknown_error_is_a_remote_one():
    """A newer member's error still says what it says."""
    heard = from_dict({"code": "brand-new", "message": "too new", "hint": "update"})
    assert (type(heard), heard.message, heard.hint) == (RemoteError, "too new", "update")


@pytest.mark.parametrize(
    "document", [{}, {"code": None}, {"code": 5, "message": []}, {"message": None, "hint": {}}, {"x": 1}]
)
def test_an_error_without_sense_is_a_remote_one(document):
    """Whatever a peer tells becomes an error that can be shown."""
    assert isinstance(from_dict(document), RemoteError)
    assert isinstance(from_dict(document).message, str)


@pytest.mark.parametrize("name", ["self", "message", "hint", "cls"])
def test_data_cannot_clash_with_the_fields(name):
    """A peer's error may have any member, also those named like our arguments."""
    assert isinstance(from_dict({"code": "conflict", name: "x"}), CmbsError)


def test_an_error_carries_data():
    """Errors name the offender for programs, and leave out an empty hint."""
    assert UnknownEntity("gone", location="/x").to_dict() == {
        "code": "unknown-entity",
        "message": "gone",
        "location": "/x",
    }


def test_what_is_unavailable_says_when_to_try_again():
    """Retry-After has a value to be filled with."""
    assert StoreUnavailable("x").retry_after >= 1
