"""Who may do what: whatever the users, the rules and the requests are, it is what a list of all cases says."""

from __future__ import annotations

import contextlib
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pycmbs.errors import CmbsError, Forbidden, NotFound
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Draft, Invocation
from pycmbs.occi.rendering.json_reader import JsonReader
from pycmbs.services.access import rules as grammar
from pycmbs.services.access.access import asking
from pycmbs.services.access.principal import MESSAGE, Principal
from tests.services.world import add_member, add_own, fixed, make_broker

BOX = {
    "kinds": [
        {"term": "box", "scheme": "http://example.org/i#", "title": "", "attributes": {}, "actions": [],
         "related": "http://schemas.ogf.org/occi/core#resource", "location": "/box/"}
    ]
}  # fmt: skip
FAMILY = {
    "message": {"message", cmbs.MESSAGE, "resource", "entity"},
    "member": {"member", cmbs.MEMBER, "resource", "entity"},
    "box": {"box", "http://example.org/i#box", "resource", "entity"},
}
LOCATIONS = {"message": cmbs.MESSAGE_LOCATION, "member": cmbs.MEMBER_LOCATION, "box": "/box/"}
ROLES = {
    "admin": [("*", "*", "")],
    "operator": [(op, "*", "") for op in ("create", "list", "read", "replace", "update", "delete", "act:*", "send")],
    "publisher": [
        ("create", "message", ""), ("send", "message", "own"), ("list", "message", "own"), ("read", "message", "own"),
        ("list", "member", ""), ("read", "member", ""),
    ],
    "consumer": [("list", "message", "received"), ("read", "message", "received")],
    "reader": [("list", "*", ""), ("read", "*", "")],
}  # fmt: skip
"""What doc/security.md says of them."""
DRY = Invocation("send_l2", attributes={"dry_run": True})
NAMES = ("ann", "bob")
ENTITIES = [(kind, f"{kind}-of-{name}") for kind in ("message", "box") for name in (*NAMES, "nobody")]
ENTITIES += [("message", "message-received"), ("member", "other")]

subjects = st.sampled_from([*(f"user:{name}" for name in NAMES), *(f"role:{role}" for role in ROLES), "other", "*"])
operations = st.sampled_from(
    ["create", "list", "read", "replace", "update", "delete", "act:*", "send", "act:send_l2", "*"]
)
rules = st.tuples(
    subjects, operations, st.sampled_from([*FAMILY, "resource", "*"]), st.sampled_from(["", "own", "received"])
)  # fmt: skip
principals = st.one_of(
    st.builds(
        lambda name, roles: Principal(name, tuple(sorted(roles)), "password"),
        st.sampled_from(NAMES),
        st.sets(st.sampled_from(list(ROLES)), max_size=2),
    ),
    st.just(Principal("other", (), MESSAGE)),
)


def is_about(rule, operation, kind):
    """Whether a rule speaks of an operation on a kind."""
    _, said, what, _ = rule
    if what != "*" and what not in FAMILY[kind]:
        return False
    if operation.startswith("act:send"):
        return said in ("*", "send", operation)
    return said in ("*", operation) or (said == "act:*" and operation.startswith("act:"))


def allowed(principal, given, operation, kind, id):
    """The list of all cases: whether it is allowed with this entity; ``id`` None: with some."""
    about = [rule for rule in given if is_about(rule, operation, kind)]
    me = "other" if principal.via == MESSAGE else f"user:{principal.name}"
    deciding = [rule for rule in about if rule[0] == "*"]
    mine = [rule for rule in about if rule[0] == me]
    if mine:
        deciding += mine
    else:
        for role in principal.roles:
            of_role = [rule for rule in about if rule[0] == f"role:{role}"]
            shipped = [(f"role:{role}", *one) for one in ROLES[role]]
            deciding += of_role or [rule for rule in shipped if is_about(rule, operation, kind)]
    return any(
        id is None or not whose or (whose == "received" and id == "message-received")
        or (whose == "own" and id.endswith(f"-of-{principal.name}") and principal.via != MESSAGE)
        for *_, whose in deciding
    )  # fmt: skip


def make(broker, principal, kind, id):
    """An entity by someone."""
    with asking(principal) if principal else contextlib.nullcontext():
        draft = Draft(cmbs.MESSAGE, id, (cmbs.mixin("l2"),), {"cmbs": {"message": {"message_content": "secret"}}})
        broker.entities.create(LOCATIONS[kind], [draft if kind == "message" else Draft(id=id, title="secret")])


def world():
    """A broker with all entities."""
    broker = make_broker()
    broker.categories.register(JsonReader().categories(json.dumps(BOX).encode()).categories)
    add_own(broker)
    add_member(broker, "other", 1)
    broker.access._rules = fixed(grammar.parse("* * *"))
    for kind, id in ENTITIES:
        name = id.rpartition("-")[2]
        if kind != "member":
            make(broker, Principal(name, ("admin",), "password") if name in NAMES else None, kind, id)
    broker.entities.modify(
        LOCATIONS["message"] + "message-received",
        lambda one: one.attributes.update({cmbs.STATE: cmbs.RECEIVED}) or True,
    )
    return broker


def documents(broker):
    """Everything of entities that is kept."""
    return {path: (one.revision, one.attributes, one.title) for path, one in broker.entities.stored_many(
        [LOCATIONS[kind] + id for kind, id in ENTITIES]).items()}  # fmt: skip


def attempt(broker, principal, do):
    """Do it for someone: the error, if it is one. What was refused changed nothing."""
    before = documents(broker)
    try:
        with asking(principal):
            do()
    except CmbsError as exc:
        assert documents(broker) == before
        return exc
    return None


def check(broker, principal, given, operation, kind, id, do):
    """What is allowed happens; what is not is refused, and names nothing that may not be read."""
    error = attempt(broker, principal, do)
    refused = isinstance(error, Forbidden | NotFound)
    assert refused is not allowed(principal, given, operation, kind, id), (operation, kind, id, error)
    if error is not None:
        hidden = [one for what, one in ENTITIES if one != id and not allowed(principal, given, "list", what, one)]
        told = json.dumps(error.to_dict())
        assert "secret" not in told
        assert not [one for one in hidden if one in told and one != principal.name], told
    return error


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(rules, max_size=5), principals)
def test_what_is_allowed_is_what_the_list_of_cases_says(given, principal):
    """Reading, listing, changing, replacing, acting and deleting, each for everything there is."""
    broker = world()
    text = "\n".join(" ".join(filter(None, rule)) for rule in given)
    broker.access._rules = fixed(grammar.parse(text))
    entities = broker.entities
    for kind, id in ENTITIES:
        path = LOCATIONS[kind] + id
        check(broker, principal, given, "read", kind, id, lambda path=path: entities.get(path))
        check(broker, principal, given, "update", kind, id, lambda path=path: entities.update(path, Draft(title="t")))
        if kind == "message":
            check(broker, principal, given, "act:send_l2", kind, id, lambda path=path: entities.act(path, DRY))
    for location in (*LOCATIONS.values(), "/"):
        expected = {
            id for kind, id in ENTITIES
            if location in ("/", LOCATIONS[kind]) and allowed(principal, given, "list", kind, id)
        }  # fmt: skip
        found: list[str] = []
        error = attempt(broker, principal, lambda: found.extend(entities.find(location)))  # noqa: B023
        kinds = [kind for kind, one in LOCATIONS.items() if one == location]
        if kinds and not allowed(principal, given, "list", kinds[0], None):
            assert isinstance(error, Forbidden)
        else:
            assert {path.rpartition("/")[2] for path in found} & {id for _, id in ENTITIES} == expected
    for kind, location in LOCATIONS.items():
        if kind != "member":
            error = attempt(broker, principal, lambda kind=kind: make(broker, principal, kind, f"{kind}-made"))
            # Made by whoever asks: own is always so, and nothing that is made was received.
            own = f"x-of-{principal.name}"
            assert isinstance(error, Forbidden) is not (
                allowed(principal, given, "create", kind, own)
                or (principal.via == MESSAGE and _own_of_member(given, kind))
            ), location
    for kind, id in ENTITIES:
        path = LOCATIONS[kind] + id
        check(broker, principal, given, "delete", kind, id, lambda path=path: entities.delete(path))


def _own_of_member(given, kind):
    return any(
        subject in ("*", "other") and is_about((subject, operation, what, whose), "create", kind) and whose == "own"
        for subject, operation, what, whose in given
    )
