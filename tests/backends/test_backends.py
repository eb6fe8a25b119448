"""The broker's own backends keep the contract, third parties' are found, and a broken one stops the start."""

from importlib.metadata import EntryPoint

import pytest

from pycmbs import seams
from pycmbs.backends import BACKENDS, load_backends
from pycmbs.backends.base import Backend
from pycmbs.errors import ConfigurationError, InvalidRequest
from pycmbs.occi import cmbs
from pycmbs.occi.category import Action
from pycmbs.occi.entity import Entity, Invocation
from tests.backends.contract import BackendContract, no_report
from tests.services.world import FakeEngine, add_member, add_message, add_own, make_broker


@pytest.fixture
def broker():
    return make_broker()


class TestDummy(BackendContract):
    @pytest.fixture
    def backend(self, broker):
        return load_backends(broker)["dummy"]

    @pytest.fixture
    def entity(self):
        return Entity("1", "http://x/y#z", "/z/1")

    def test_every_action_is_done_or_refused(self, backend, entity):
        """PyOCNI's backend of that name answers every action with success."""
        assert backend.act(entity, None) == {}

    def test_a_kind_without_states_has_no_effects(self, backend, entity):
        """What is no infrastructure of OCCI's is only described."""
        action = Action("http://x/y/action#", "start")
        assert backend.applies(entity, action)
        assert backend.effect(entity, Invocation("start", action.identifier)) is None


class TestMember(BackendContract):
    @pytest.fixture
    def backend(self, broker):
        return load_backends(broker)["cmbs_member"]

    @pytest.fixture
    def entity(self, broker):
        return add_own(broker)

    def test_it_does_what_the_readme_stops(self, backend):
        """Every layer can be started and stopped, all of them at once, too, and the neighbours checked."""
        layers = ("l1", "l2", "l31", "l32", "l4")
        assert set(backend.actions) == {
            "check_neighbors",
            "start",
            "stop",
            *(f"{verb}_{one}" for verb in ("start", "stop") for one in layers),
        }

    def test_a_member_does_not_listen_at_first(self, broker, backend):
        """The own member begins by listening on nothing; where others listen is not claimed to be known."""
        own, other = add_own(broker), add_member(broker, "a", 1)
        assert own.attributes[cmbs.LISTENING] == []
        assert cmbs.LISTENING not in other.attributes


class TestMessage(BackendContract):
    @pytest.fixture
    def backend(self, broker):
        return load_backends(broker)["cmbs_message"]

    @pytest.fixture
    def entity(self, broker):
        add_own(broker)
        return add_message(broker, "l2")

    def test_the_ledger_is_shown_and_not_stored(self, broker, backend, entity):
        """Deliveries are added to what is read."""
        assert backend.retrieve(entity).attributes[cmbs.DELIVERIES] == []
        assert cmbs.DELIVERIES not in broker.entities.stored(entity.path).attributes

    @pytest.mark.parametrize("layer", ["l1", "l2", "l31", "l32", "l4"])
    def test_every_layer_can_be_sent(self, broker, backend, layer):
        """An action of each layer mixin leads to a send on that layer, or says what is missing."""
        add_own(broker)
        message = add_message(broker, layer, f"m-{layer}")
        if layer == "l2":
            return
        assert no_report(backend, message, f"send_{layer}").data["attribute"].startswith("cmbs.message.")


def third_party(value, name="theirs"):
    """As if a package with this entry point were installed."""
    return lambda group: [EntryPoint(name, value, group)]


class Theirs(Backend):
    """A backend of someone else."""

    name = "theirs"


def test_the_table_is_whole(broker):
    """Every backend of the table can be loaded, and is called what the table calls it."""
    assert {name: backend.name for name, backend in load_backends(broker).items()} == {name: name for name in BACKENDS}


def test_a_third_partys_backend_is_found(broker, monkeypatch):
    """The entry-point group pycmbs.backends adds backends, which get the broker as their host."""
    monkeypatch.setattr(seams, "entry_points", third_party(f"{__name__}:Theirs"))
    found = load_backends(broker)["theirs"]
    assert (type(found), found.host) == (Theirs, broker)


def test_nobody_replaces_the_brokers_own(broker, monkeypatch):
    """An entry point cannot take the name of a backend of the broker."""
    monkeypatch.setattr(seams, "entry_points", third_party(f"{__name__}:Theirs", "dummy"))
    assert load_backends(broker)["dummy"].name == "dummy"


@pytest.mark.parametrize(
    "value", ["no.such.module:X", f"{__name__}:Nothing", "json:loads", "nonsense", f"{__name__}:third_party"]
)
def test_a_backend_that_cannot_be_loaded_stops_the_start(broker, monkeypatch, value):
    """The error names the backend and where it should be."""
    monkeypatch.setattr(seams, "entry_points", third_party(value))
    with pytest.raises(ConfigurationError) as caught:
        make_broker(engine=FakeEngine())
    assert "theirs" in caught.value.message
    assert value in caught.value.message


def test_a_backend_refuses_what_it_cannot_do(broker):
    """The base of all backends does no action, and says which backend that is."""
    error = no_report(Theirs(broker), Entity("1", "k", "/k/1"), "fly")
    assert isinstance(error, InvalidRequest)
    assert "theirs" in error.message
