"""The memory gateway keeps the contract, and the loader finds it."""

import pytest

from pycmbs.errors import ConfigurationError
from pycmbs.gateways import GATEWAYS, load_gateway
from pycmbs.gateways.memory import MemoryGateway
from tests.gateways.contract import GatewayContract
from tests.services.world import add_own, make_broker


class TestMemoryGateway(GatewayContract):
    @pytest.fixture
    def make(self):
        return MemoryGateway

    @pytest.fixture
    def arrive(self):
        return lambda gateway, operation: gateway.submit(operation)


@pytest.mark.parametrize("name", GATEWAYS)
def test_every_gateway_can_be_loaded(name):
    """The table names what is there."""
    assert load_gateway(name, dict).perform is dict


def test_an_unknown_gateway_is_a_configuration_error():
    """The error lists those there are."""
    with pytest.raises(ConfigurationError, match="memory"):
        load_gateway("pigeon", dict)


def test_a_gateway_reaches_the_services():
    """What a gateway hands over is done by the same services as HTTP's requests."""
    broker = make_broker()
    own = add_own(broker)
    gateway = load_gateway("memory", broker.operations.perform)
    gateway.start()
    assert gateway.submit({"operation": "list", "target": "/cmbs/member/"}) == {"locations": [own.path]}
