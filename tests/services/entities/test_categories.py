"""Categories: registered, replaced, bound and removed, by several processes on one store."""

import pytest

from pycmbs.errors import CategoryConflict, Forbidden, InvalidCategory, InvalidRequest, UnknownCategory
from pycmbs.occi import cmbs
from pycmbs.occi.category import CORE, RESOURCE, Kind, parse_category
from pycmbs.occi.entity import Draft
from pycmbs.occi.rendering import ProviderBinding
from tests.services.world import CATEGORIES, add_message, add_own, make_broker

S = "http://example.org/stuff#"


def kind(term="box", **members):
    """A kind of a client."""
    return parse_category("kind", {"term": term, "scheme": S, **members})


def mixin(term="paint", **members):
    """A mixin of a client."""
    return parse_category("mixin", {"term": term, "scheme": S, **members})


@pytest.fixture
def broker(store):
    return make_broker(store, shipped=False)


@pytest.fixture
def categories(broker):
    return broker.categories


def test_a_new_broker_knows_the_core(categories):
    """GFD.221 4.4.1: entity, resource and link are there from the start."""
    assert {one.term for one in categories.listed()} == {"entity", "resource", "link"}


def test_what_is_registered_is_there(categories):
    """A POST on the query interface adds kinds, mixins and actions."""
    categories.register([kind(), mixin()])
    assert categories.registry().at("/box/") == kind()
    assert categories.registry().mixin(S + "paint") == mixin()


def test_two_processes_see_each_others_changes(store, categories):
    """Every process follows the store: no restart, no signal."""
    other = make_broker(store, shipped=False).categories
    assert other.registry().get(S + "box") is None
    categories.register([kind()])
    assert other.registry().get(S + "box") == kind()
    other.remove([S + "box"])
    assert categories.registry().get(S + "box") is None


def test_an_unchanged_registry_is_the_same_object(categories):
    """Nothing is parsed twice: compiled schemas live as long as no category changes."""
    assert categories.registry() is categories.registry()


def test_what_is_covered_changes_nothing(store, categories):
    """The same definition again is accepted and writes nothing."""
    categories.register([kind()])
    before = store.change_token("category")
    categories.register([kind()])
    assert store.change_token("category") == before


def test_a_contradiction_is_refused(categories):
    """A definition that contradicts the registered one is a conflict that names it."""
    categories.register([kind()])
    with pytest.raises(CategoryConflict) as caught:
        categories.register([kind(location="/boxes/")])
    assert caught.value.data["category"] == S + "box"


def test_a_batch_is_all_or_nothing(categories):
    """GFD.185 3.4: one wrong category keeps the others out."""
    with pytest.raises(InvalidCategory):
        categories.register([mixin(), kind(parent=S + "nowhere")])
    assert categories.registry().get(S + "paint") is None


def test_categories_of_one_batch_may_refer_to_each_other(categories):
    """A kind, its parent and its actions come in one body, in any order."""
    go = parse_category("action", {"term": "go", "scheme": S})
    categories.register([kind("crate", parent=S + "box", actions=[S + "go"]), kind(), go])
    assert set(categories.registry().actions(categories.registry().kind(S + "crate"), ())) == {"go"}


@pytest.mark.parametrize("relation", ["depends", "related"])
def test_a_mixin_may_depend_on_what_is_not_there(broker, categories, relation):
    """GFD.185 3.4.1 shows it so: it brings nothing, until someone defines it; even what depends on it in turn."""
    categories.register([kind(), mixin(**{relation: [S + "wax"]})])
    assert categories.registry().mixin(S + "paint").depends == (S + "wax",)
    box = broker.entities.create("/box/", [Draft(mixins=(S + "paint",))])[0]
    wax = parse_category(
        "mixin",
        {"term": "wax", "scheme": S, "depends": [S + "paint"], "attributes": {"w.x": {"default": "y"}}},
    )
    categories.register([wax])
    assert "w.x" in broker.entities.schema(broker.entities.get(box.path)).definitions


def test_a_mixin_that_applies_to_what_is_not_there_applies_to_nothing(broker, categories):
    """It is kept, and given to no entity of another kind."""
    categories.register([kind(), mixin(applies=[S + "chest"])])
    with pytest.raises(InvalidRequest):
        broker.entities.create("/box/", [Draft(mixins=(S + "paint",))])


@pytest.mark.parametrize("needs", [{"parent": S + "chest"}, {"actions": [S + "go"]}])
def test_a_kind_needs_its_parent_and_its_actions(categories, needs):
    """Without them it would not mean what its author thinks; the error names what is missing."""
    with pytest.raises(InvalidCategory) as caught:
        categories.register([kind(**needs)])
    assert caught.value.data["refers_to"] in (S + "chest", S + "go")


def test_a_category_described_twice_is_refused(categories):
    """One body cannot say two things of one category."""
    with pytest.raises(CategoryConflict):
        categories.register([kind(), kind(title="other")])


@pytest.mark.parametrize("other", [kind("crate", location="/box/"), mixin(location="/box/")])
def test_a_location_belongs_to_one_category(categories, other):
    """A location that is taken is a conflict that names it, also within one body."""
    with pytest.raises(CategoryConflict) as caught:
        categories.register([kind(), other])
    assert caught.value.data["location"] == "/box/"


def test_two_processes_cannot_take_one_location(store, categories):
    """The guard makes plans take turns: the slower one sees what the faster one did."""
    other = make_broker(store, shipped=False).categories
    store.before_write = lambda: other.register([kind("crate", location="/box/")])
    with pytest.raises(CategoryConflict):
        categories.register([kind()])
    assert categories.registry().at("/box/").term == "crate"


def test_two_processes_may_register_at_once(store, categories):
    """What does not conflict passes, though both wrote at the same moment."""
    other = make_broker(store, shipped=False).categories
    store.before_write = lambda: other.register([mixin()])
    categories.register([kind()])
    assert {S + "box", S + "paint"} < {one.identifier for one in categories.listed()}


def test_a_parent_cannot_go_while_a_child_comes(store, categories):
    """The guard also stops one process from removing what another one refers to at that moment."""
    categories.register([kind()])
    other = make_broker(store, shipped=False).categories
    store.before_write = lambda: other.remove([S + "box"])
    with pytest.raises(InvalidCategory):
        categories.register([kind("crate", parent=S + "box")])


def test_a_cycle_of_parents_is_refused(categories):
    """A kind cannot become its own ancestor."""
    categories.register([kind(), kind("crate", parent=S + "box")])
    with pytest.raises(InvalidCategory):
        categories.replace([kind(parent=S + "crate")])


def test_replacing_changes_the_definition(categories):
    """PUT replaces what POST would refuse, and keeps the kind's backend."""
    categories.register([kind()])
    categories.bind([ProviderBinding(S + "box", ("cmbs_message",))])
    categories.replace([kind(title="a new box")])
    found = categories.registry().kind(S + "box")
    assert (found.title, found.provider) == ("a new box", "cmbs_message")


def test_replacing_may_create(categories):
    """PUT of a category that is not there adds it."""
    categories.replace([kind()])
    assert categories.registry().kind(S + "box") == kind()


@pytest.mark.parametrize("change", ["replace", "remove", "bind"])
def test_the_core_cannot_be_changed(categories, change):
    """GFD.221 4.4.1: the three core kinds are what they are."""
    arguments = {
        "replace": RESOURCE,
        "remove": RESOURCE.identifier,
        "bind": ProviderBinding(RESOURCE.identifier, ("dummy",)),
    }
    with pytest.raises(Forbidden):
        getattr(categories, change)([arguments[change]])


def test_a_kind_with_entities_stays_where_it_is(broker, categories):
    """A location cannot change while entities are below it."""
    categories.register([kind()])
    broker.entities.create("/box/", [Draft()])
    with pytest.raises(CategoryConflict):
        categories.replace([kind(location="/boxes/")])


@pytest.mark.parametrize("other", [mixin("box"), parse_category("action", {"term": "box", "scheme": S})])
def test_a_kind_stays_a_kind(categories, other):
    """A category cannot become one of another class: its entities would be of no kind."""
    categories.register([kind()])
    with pytest.raises(CategoryConflict):
        categories.replace([other])


def test_a_kind_is_bound_to_a_backend(categories):
    """PUT /-/ with providers (reference, 2): the kind is served by the named backend from then on."""
    categories.register([kind()])
    categories.bind([ProviderBinding(S + "box", ("cmbs_message",), ("far",))])
    bound = categories.registry().kind(S + "box")
    assert (bound.provider, bound.remote_providers) == ("cmbs_message", ("far",))
    assert categories.backend(bound).name == "cmbs_message"


@pytest.mark.parametrize("names", [("nothing",), ("dummy", "cmbs_message")])
def test_an_unknown_backend_is_refused(categories, names):
    """The hint names the backends there are."""
    categories.register([kind()])
    with pytest.raises(InvalidRequest) as caught:
        categories.bind([ProviderBinding(S + "box", names)])
    assert "cmbs_member" in caught.value.hint


def test_no_backend_is_the_dummy(categories):
    """A kind whose provider is taken away is kept and nothing more."""
    categories.register([kind()])
    categories.bind([ProviderBinding(S + "box", ("cmbs_message",))])
    categories.bind([ProviderBinding(S + "box", ())])
    assert categories.registry().kind(S + "box").provider == "dummy"


def test_an_unknown_kind_cannot_be_bound(categories):
    """A binding of a kind that is not there changes nothing."""
    with pytest.raises(UnknownCategory):
        categories.bind([ProviderBinding(S + "box", ("dummy",))])


def test_a_backend_that_is_not_installed_is_the_dummy(categories):
    """A kind bound elsewhere to a third party's backend can still be read here."""
    assert categories.backend(Kind(S, "box", provider="theirs")).name == "dummy"


def test_what_is_removed_is_gone(categories):
    """DELETE on the query interface removes categories."""
    categories.register([kind(), mixin()])
    categories.remove([S + "box", S + "paint"])
    assert categories.registry().get(S + "box") is categories.registry().get(S + "paint") is None


def test_a_removed_mixin_leaves_its_entities(broker, categories):
    """GFD.223 5.4.3: a removed mixin is dissociated from all entities."""
    categories.register([kind(), mixin(attributes={"p.color": {}})])
    box = broker.entities.create("/box/", [Draft(mixins=(S + "paint",), attributes={"p.color": "red"})])[0]
    categories.remove([S + "paint"])
    left = broker.entities.get(box.path)
    assert (left.mixins, left.attributes) == ((), {})


def test_a_kind_with_entities_cannot_be_removed(broker, categories):
    """The conflict says how many there are."""
    categories.register([kind()])
    broker.entities.create("/box/", [Draft()])
    with pytest.raises(CategoryConflict):
        categories.remove([S + "box"])


def test_what_others_refer_to_cannot_be_removed(categories):
    """The conflict names who uses it, and both may go together."""
    categories.register([kind(), kind("crate", parent=S + "box")])
    with pytest.raises(CategoryConflict) as caught:
        categories.remove([S + "box"])
    assert caught.value.data["used_by"] == [S + "crate"]
    categories.remove([S + "box", S + "crate"])
    assert categories.registry().get(S + "box") is None


def test_a_refused_removal_leaves_the_entities_alone(broker, categories):
    """All or nothing: a mixin stays with its entities when the kind named beside it cannot go."""
    categories.register([kind(), mixin()])
    box = broker.entities.create("/box/", [Draft(mixins=(S + "paint",))])[0]
    with pytest.raises(CategoryConflict):
        categories.remove([S + "paint", S + "box"])
    assert broker.entities.get(box.path).mixins == (S + "paint",)


@pytest.mark.parametrize(("names", "error"), [([], InvalidRequest), ([S + "box"], UnknownCategory)])
def test_removing_nothing_is_an_error(categories, names, error):
    """A DELETE that names no category, or one that is not there, says so."""
    with pytest.raises(error):
        categories.remove(names)


def test_the_shipped_definitions_are_the_brokers_own(store):
    """GFD.223 5.4.3: what the provider defined cannot be removed."""
    broker = make_broker(store)
    with pytest.raises(Forbidden):
        broker.categories.remove([cmbs.MEMBER])


def test_shipping_twice_changes_nothing(store):
    """A restart with the same version writes nothing."""
    make_broker(store)
    before = store.change_token("category")
    make_broker(store)
    assert store.change_token("category") == before


def test_shipping_renews_old_definitions(store, categories):
    """A new version of the broker brings its new definitions."""
    categories.ship([kind(title="old")])
    categories.ship([kind(title="new")])
    assert categories.registry().kind(S + "box").title == "new"


def test_shipping_respects_what_a_client_replaced(categories):
    """What a client PUT stays over restarts."""
    categories.ship([kind()])
    categories.replace([kind(title="mine")])
    categories.ship([kind(title="new")])
    assert categories.registry().kind(S + "box").title == "mine"


def test_the_shipped_kinds_are_served():
    """Members and messages have their backends from the start."""
    registry = make_broker().categories.registry()
    assert (registry.kind(cmbs.MEMBER).provider, registry.kind(cmbs.MESSAGE).provider) == (
        "cmbs_member",
        "cmbs_message",
    )


def test_a_broker_works_after_its_definitions_were_posted_again():
    """The README's first step, posting the definitions, is harmless on a broker that has them."""
    broker = make_broker()
    broker.categories.register(CATEGORIES)
    add_own(broker)
    assert add_message(broker, "l2").kind == cmbs.MESSAGE


@pytest.mark.parametrize(
    ("wanted", "terms"),
    [
        ({"kind": [{"term": "box"}]}, ["box"]),
        ({"kind": [{"term": "box"}, {"location": "/crate/"}]}, ["box", "crate"]),
        ({"mixin": []}, ["paint"]),
        ({"action": []}, []),
        ({"kind": [{"term": "box", "title": "x"}]}, []),
        ({}, []),
    ],
)
def test_categories_are_filtered_by_parts(categories, wanted, terms):
    """2012 (reference, 2): a partial category selects those that have all its parts."""
    categories.register([kind(), kind("crate"), mixin()])
    assert [one.term for one in categories.listed(wanted)] == terms


def test_the_backend_adds_its_actions():
    """stop_l1 works on a member kind that does not declare it."""
    broker = make_broker()
    assert "stop_l1" in broker.categories.actions(Kind(S, "x", provider="cmbs_member", parent=CORE + "resource"), ())


def test_kinds_descend_from_each_other_within_bounds(categories):
    """A family of kinds has an end, also when one in its middle is replaced; dependencies of mixins are followed to theirs."""
    line = [kind(f"k{number}", parent=f"{S}k{number - 1}" if number else RESOURCE.identifier) for number in range(40)]
    with pytest.raises(InvalidCategory):
        categories.register(line)
    categories.register(line[:30])
    categories.register([kind("between")])
    with pytest.raises(InvalidCategory):
        categories.replace([kind("k0", parent=f"{S}between")])
    assert categories.registry().schema(line[29], ()).definitions == {}
    mixins = [mixin(f"m{number}", depends=[f"{S}m{number - 1}"] if number else []) for number in range(3000)]
    categories.register(mixins)
    assert categories.registry().brought_by([f"{S}m2999"]) == set()
