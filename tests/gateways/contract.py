"""What every gateway keeps: give ``make`` and ``arrive`` as fixtures."""

import pytest

from pycmbs.errors import CmbsError, UnknownEntity
from pycmbs.gateways.base import Gateway


class GatewayContract:
    """``make``: from what performs an operation to a gateway. ``arrive``: have an operation arrive by its protocol."""

    def test_it_is_a_gateway(self, make):
        """Every implementation has the interface."""
        assert isinstance(make(lambda operation: operation), Gateway)

    def test_what_arrives_is_performed(self, make, arrive):
        """An operation that arrives is performed as it is, once."""
        performed = []
        gateway = make(lambda operation: performed.append(operation) or {})
        gateway.start()
        arrive(gateway, {"operation": "list", "target": "/"})
        gateway.stop()
        assert performed == [{"operation": "list", "target": "/"}]

    def test_nothing_is_performed_before_the_start(self, make, arrive):
        """A gateway that is not started takes nothing."""
        gateway = make(lambda _operation: pytest.fail("it was performed"))
        with pytest.raises(CmbsError):
            arrive(gateway, {"operation": "list", "target": "/"})

    def test_nothing_is_performed_after_the_stop(self, make, arrive):
        """A gateway that was stopped takes nothing any more, and may be stopped again."""
        gateway = make(lambda _operation: pytest.fail("it was performed"))
        gateway.start()
        gateway.stop()
        gateway.stop()
        with pytest.raises(CmbsError):
            arrive(gateway, {"operation": "list", "target": "/"})

    def test_a_refusal_leaves_it_working(self, make, arrive):
        """An operation that is refused does not end the gateway."""

        def refuse(_operation):
            raise UnknownEntity("there is none")

        gateway = make(refuse)
        gateway.start()
        for _ in range(2):
            with pytest.raises(UnknownEntity):
                arrive(gateway, {"operation": "read", "target": "/x"})
        gateway.stop()
