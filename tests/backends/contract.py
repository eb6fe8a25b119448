"""What every backend keeps: give ``backend`` and ``entity`` as fixtures."""

import copy

import pytest

from pycmbs.backends.base import Backend
from pycmbs.errors import CmbsError
from pycmbs.occi.attribute import AttributeDefinition
from pycmbs.occi.category import Action
from pycmbs.occi.entity import Invocation
from pycmbs.store.base import Write


class BackendContract:
    """``backend``: one, with a host. ``entity``: a valid stored entity that it serves."""

    def test_it_is_a_backend(self, backend):
        """Every implementation has the interface and a name."""
        assert isinstance(backend, Backend)
        assert backend.name

    def test_what_it_knows_is_named(self, backend):
        """Attributes and actions are listed under their own names."""
        assert all(
            isinstance(one, AttributeDefinition) and one.name == name for name, one in backend.attributes.items()
        )
        assert all(isinstance(one, Action) and one.term == term for term, one in backend.actions.items())

    def test_a_valid_entity_is_accepted(self, backend, entity):
        """Creation gives writes that go along, none of them the entity's own."""
        writes = list(backend.create(entity))
        assert all(isinstance(one, Write) and one.type != "entity" for one in writes)

    def test_a_valid_change_is_accepted(self, backend, entity):
        """So does an update, which does not touch the old entity."""
        old, new = entity, entity.copy()
        before = copy.deepcopy(old)
        assert all(isinstance(one, Write) for one in backend.update(old, new))
        assert old == before

    def test_reading_changes_nothing(self, backend, entity):
        """What is shown may be more than what is stored, which stays as it is."""
        before = copy.deepcopy(entity)
        shown = backend.retrieve(entity)
        assert entity == before
        assert (shown.path, shown.kind) == (entity.path, entity.kind)

    def test_settling_is_idempotent(self, backend, entity):
        """Bringing the world in line twice is as good as once."""
        assert backend.updated(entity) is backend.updated(entity) is None

    def test_deletion_gives_writes(self, backend, entity):
        """What belongs to the entity goes with it, in the same commit."""
        assert all(isinstance(one, Write) for one in backend.delete(entity))

    def test_asking_what_an_action_does_does_nothing(self, backend, entity):
        """What applies, what an action takes and what it would change can be asked again and again."""
        before = copy.deepcopy(entity)
        for action in (*backend.actions.values(), Action("http://x/y/action#", "nonsense")):
            invocation = Invocation(action.term, action.identifier)
            assert isinstance(backend.applies(entity, action), bool)
            assert all(isinstance(one, AttributeDefinition) for one in backend.options(action).values())
            assert backend.effect(entity, invocation) == backend.effect(entity, invocation)
        assert entity == before

    def test_every_action_is_done_or_refused(self, backend, entity):
        """An action it knows has a report; one it does not know is a CmbsError, never anything worse."""
        for term in (*backend.actions, "nonsense", "send_l9", "start_", "stop", "_l1"):
            try:
                report = backend.act(entity, Invocation(term))
            except CmbsError:
                assert term not in backend.actions
            else:
                assert isinstance(report, dict)


def no_report(backend, entity, term):
    """The error that an action is refused with."""
    with pytest.raises(CmbsError) as caught:
        backend.act(entity, Invocation(term))
    return caught.value
