"""What other members may have executed: nothing but what a rule says."""

import pytest

from pycmbs.config_loading import load_settings
from pycmbs.errors import ConfigurationError
from pycmbs.occi import cmbs
from pycmbs.services.access.rules import check, dormant, parse, permits
from tests.services.world import OWN, add_own, make_broker

MEMBER = [cmbs.MEMBER, "member", "http://schemas.ogf.org/occi/core#resource", "resource"]


@pytest.mark.parametrize(
    ("text", "sender", "operation", "kinds", "allowed"),
    [
        ("", "a", "read", MEMBER, False),
        ("* * *", "a", "read", MEMBER, True),
        ("a read member", "a", "read", MEMBER, True),
        ("urn:uuid:a read http://houssem.org/cmbs#member", "a", "read", MEMBER, True),
        ("a read resource", "a", "read", MEMBER, True),
        ("a read member", "b", "read", MEMBER, False),
        ("a read member", "ab", "read", MEMBER, False),
        ("a read member", "a", "delete", MEMBER, False),
        ("a read message", "a", "read", MEMBER, False),
        ("* * member", "a", "reboot", [], False),
        ("* *", "a", "reboot", [], True),
        ("* *", "a", "read", MEMBER, False),
        ("a act:start_l1 member", "a", "act:start_l1", MEMBER, True),
        ("a act:start_l1 member", "a", "act:stop_l1", MEMBER, False),
        ("a reboot", "a", "reboot", [], True),
        ("a reboot", "a", "halt", [], False),
        ("a read member; b delete message\n* reboot", "c", "reboot", [], True),
    ],
)
def test_rules(text, sender, operation, kinds, allowed):
    """A rule allows its sender its operation on its kind, by any name of that; everything else is not allowed."""
    assert permits(parse(text), sender, operation, kinds) is allowed


@pytest.mark.parametrize("text", ["x", "a b c d", "* read member; oops", "* create", "* act:start_l1", "* act member"])
def test_a_wrong_rule_stops_the_start(text):
    """An invalid rule is a sentence at the start, and shows the rule."""
    with pytest.raises(ConfigurationError, match="is not a rule"):
        parse(text)
    with pytest.raises(ConfigurationError, match="allow"):
        load_settings(None, {}, {"allow": text})


@pytest.mark.parametrize(
    ("text", "named"), [("* raed member", "'\\* raed member'"), ("a reboot; * halt", "'\\* halt'")]
)
def test_a_rule_about_nothing_stops_the_start(text, named):
    """A rule for what is neither an operation nor a handler here is misspelled, and is shown."""
    with pytest.raises(ConfigurationError, match=named):
        check(parse(text), ["reboot"])
    check(parse("* read member; a reboot; * * *; * *; * act:start_l1 member"), ["reboot"])


@pytest.mark.parametrize(
    ("operation", "name", "kind"),
    [
        ({"operation": "read", "target": cmbs.MEMBER_LOCATION + OWN}, "read", "member"),
        ({"operation": "create", "target": cmbs.MESSAGE_LOCATION}, "create", "message"),
        ({"operation": "read", "target": cmbs.MESSAGE_LOCATION + "nobody"}, "read", "message"),
        ({"operation": "act", "target": cmbs.MEMBER_LOCATION + OWN, "action": "start_l3.1"}, "act:start_l31", "member"),
        ({"operation": "list", "target": "/"}, "list", "-"),
        ({"operation": "read", "target": "/nowhere/x"}, "read", "-"),
        ({"operation": "read", "target": 5}, "read", "-"),
    ],
)
def test_what_an_operation_is_about(operation, name, kind):
    """Rules speak of the kind of what is there, and of the collection's where nothing is: no one learns which by a refusal."""
    broker = make_broker()
    add_own(broker)
    found, kinds = broker.operations.subject(operation)
    assert (found, kind in kinds) == (name, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("paris reboot web", "'reboot' is a handler"),
        ("http://h/cmbs/member/paris read member", "is not a member's id"),
        ("a/b read member", "is not a member's id"),
    ],
)
def test_a_rule_that_nothing_matches_stops_the_start(text, said):
    """A handler has no kind, and a sender is an id: such a rule would never allow anything."""
    with pytest.raises(ConfigurationError, match=said):
        check(parse(text), ["reboot"])


def test_a_rule_about_what_is_not_registered_is_said():
    """A kind or an action may come later, so the broker starts; whoever misspelled it reads so."""
    registry = make_broker().categories.registry()
    fine = "* read member; * act:start_l1 *; * * http://houssem.org/cmbs#message; * * *; * reboot"
    assert dormant(parse(fine), registry) == []
    assert dormant(parse("* read membre; * act:strat_l1 member"), registry) == [
        "the setting allow has '* read membre', but no kind 'membre' is registered yet",
        "the setting allow has '* act:strat_l1 member', but no action 'strat_l1' is registered yet",
    ]


def test_a_sender_is_known_in_any_case():
    """RFC 9562 4: a UUID is the same in any case."""
    id = "996ad860-2a9a-504f-8861-aeafd0b2ae29"
    for spelling in (id.upper(), f"urn:uuid:{id.upper()}"):
        assert permits(parse(f"{spelling} read member"), id, "read", MEMBER)
