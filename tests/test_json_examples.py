"""The JSON that README and tests send: it parses, agrees with what the broker loads, and 2012's is 2012's."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "json_examples"
DEFINITIONS = ROOT / "pycmbs" / "definitions"
SEED = ROOT.parent / "shared" / "seeds" / "001_98bf0a3a735fca3a.txt"

LAYERS = ("l1", "l2", "l31", "l32", "l4")
PRINTED_IN_README = (
    "post_category_cmbs_member",
    "put_provider_cmbs_member",
    "post_category_cmbs_message",
    "put_provider_cmbs_message",
    "post_member",
    "post_message_l1",
)
NAMED_IN_README = (
    "action_check_neighbors_member",
    "action_start_l1_member",
    "action_stop_l1_member",
    "action_start_l2_member",
    "action_stop_l2_member",
    "action_send_l1_message",
)
INTERNAL = {
    "member": {"listening", "health", "fingerprint", "trust"},
    "message": {"state", "origin", "deliveries", "accepted", "received"},
}


def definition(name):
    return json.loads((DEFINITIONS / f"cmbs_{name}.json").read_text(encoding="utf-8"))


def attributes(name):
    return definition(name)["kinds"][0]["attributes"]["cmbs"][name]


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.json")), ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_every_example_is_a_json_object_that_ends_with_one_newline(path):
    """Every file can be posted with `curl -d@` as it is."""
    text = path.read_text(encoding="utf-8")
    assert isinstance(json.loads(text), dict)
    assert text.endswith("}\n")
    assert not text.endswith("\n\n")


@pytest.mark.parametrize("name", PRINTED_IN_README)
def test_a_body_printed_in_the_readme_of_2012_is_kept_byte_for_byte(name):
    """What a reader of the README of 2012 would paste is what the tests post."""
    if not SEED.exists():
        pytest.skip("the README of 2012 is not beside this checkout")
    seed = SEED.read_text(encoding="utf-8")
    heading = f"\n{name}.json:\n\n"
    start = seed.index(heading) + len(heading)
    _, end = json.JSONDecoder().raw_decode(seed, start)
    assert (EXAMPLES / "readme_2012" / f"{name}.json").read_text(encoding="utf-8") == seed[start:end] + "\n"


def test_the_readme_of_2012_is_complete():
    """Every body that the README of 2012 prints or names is there, and nothing else."""
    assert {path.stem for path in (EXAMPLES / "readme_2012").iterdir()} == {*PRINTED_IN_README, *NAMED_IN_README}


@pytest.mark.parametrize("name", ["member", "message"])
def test_the_definitions_that_are_loaded_are_the_ones_shown(name):
    """The example beside the verbatim one is byte for byte what the broker loads at start."""
    example = EXAMPLES / f"post_category_cmbs_{name}.json"
    assert example.read_bytes() == (DEFINITIONS / f"cmbs_{name}.json").read_bytes()


@pytest.mark.parametrize("name", ["member", "message"])
def test_the_corrected_definition_covers_the_one_of_2012(name):
    """Nothing that the README of 2012 declares is missing, its l3.1 being l31."""
    text = (EXAMPLES / "readme_2012" / f"post_category_cmbs_{name}.json").read_text(encoding="utf-8")
    old = json.loads(text.replace("l3.1", "l31").replace("l3.2", "l32"))
    new = definition(name)
    assert {action["term"] for action in old["actions"]} <= {action["term"] for action in new["actions"]}
    assert set(old["kinds"][0]["attributes"]["cmbs"][name]) <= set(attributes(name))
    assert set(old["kinds"][0]["actions"]) <= set(new["kinds"][0]["actions"])
    by_term = {mixin["term"]: mixin for mixin in new["mixins"]}
    for mixin in old["mixins"]:
        known = by_term[mixin["term"]]
        assert set(mixin["attributes"].get("cmbs", {}).get("message", {})) <= set(
            known["attributes"].get("cmbs", {}).get("message", {})
        )
        assert mixin["actions"] == known["actions"]
        assert mixin["location"] == known["location"]


@pytest.mark.parametrize("name", ["member", "message"])
def test_every_attribute_says_what_it_means(name):
    """A reader of /-/ learns from each attribute what it is for, and which ones only the broker writes."""
    for mixin in [
        attributes(name),
        *(m["attributes"].get("cmbs", {}).get(name, {}) for m in definition(name)["mixins"]),
    ]:
        for attribute, declared in mixin.items():
            assert declared["description"].endswith("."), attribute
            assert declared["required"] is False
    immutable = {attribute for attribute, declared in attributes(name).items() if not declared["mutable"]}
    assert immutable - {"local"} == INTERNAL[name]


@pytest.mark.parametrize("name", ["member", "message"])
def test_a_default_agrees_with_its_own_type_and_pattern(name):
    """The contradictions of 2012 (an Array whose default is a string, a layer `true`) are gone."""
    types = {"String": str, "Array": list, "Number": (int, float), "any": object}
    for attribute, declared in attributes(name).items():
        if "default" in declared:
            assert isinstance(declared["default"], types[declared["type"]]), attribute
        if "pattern" in declared and "default" in declared:
            assert declared["default"] in declared["pattern"].split("|"), attribute


@pytest.mark.parametrize("layer", LAYERS)
def test_there_is_a_body_for_every_step_with_every_layer(layer):
    """For each layer one can start and stop it, post a message and send it, from files."""
    for file in (f"action_start_{layer}_member", f"action_stop_{layer}_member", f"action_send_{layer}_message"):
        assert (EXAMPLES / f"{file}.json").read_text(encoding="utf-8") == "{}\n"
    resource = json.loads((EXAMPLES / f"post_message_{layer}.json").read_text(encoding="utf-8"))["resources"][0]
    assert resource["mixins"] == [f"http://houssem.org/cmbs#{layer}"]
    mixin = next(mixin for mixin in definition("message")["mixins"] if mixin["term"] == layer)
    addressing = set(mixin["attributes"].get("cmbs", {}).get("message", {}))
    given = set(resource["attributes"]["cmbs"]["message"])
    assert addressing <= given
    assert given <= set(attributes("message")) | addressing


def test_two_members_do_not_collide_and_know_each_other():
    """The two members of the tour have sockets and ids of their own, and the second knows the first."""
    first, second = (
        json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))["resources"][0]
        for name in ("post_member", "post_second_member")
    )
    one, two = (resource["attributes"]["cmbs"]["member"] for resource in (first, second))
    sockets = [member[f"{layer}_socket"] for member in (one, two) for layer in LAYERS]
    assert len(set(sockets)) == 10
    assert first["id"] != second["id"]
    assert two["neighbors_socket"] == [one["l1_socket"]]
    assert set(one) <= set(attributes("member"))
    assert one["local"] == two["local"] == "true"
