"""The transport seam: how bytes get from one member to another, and what travels over it.

=================  ============================================================================================
module             what it holds
=================  ============================================================================================
``base``           the contract: :class:`~pycmbs.transport.base.Transport`, ``Arrival``, ``Receiver``
``address``        which socket URLs are addresses; pure, for whoever only validates
``envelope``       the versioned bytes that a datagram carries; pure
``router``         :class:`~pycmbs.transport.router.Transports`: picks the transport by the URL's scheme
``zeromq``         ``tcp:``, ``ipc:``, ``inproc:``; beneath it ``zeromq_loop`` (the thread), ``zeromq_ports`` (what
                   it serves), ``zeromq_context`` (what those share) and ``resolver`` (host names)
``memory``         ``memory:``, within one process, for tests
=================  ============================================================================================

The package knows neither messages nor members nor stores: of pyCMBS it imports :mod:`pycmbs.errors`, and nothing else.
Importing it loads no library for sockets; an implementation is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType

from pycmbs.errors import ConfigurationError
from pycmbs.transport.base import Transport

SCHEMES = MappingProxyType({"tcp": "zeromq", "ipc": "zeromq", "inproc": "zeromq", "memory": "memory"})
"""URL scheme to the name of the implementation that serves it."""

IMPLEMENTATIONS = MappingProxyType(
    {
        "zeromq": ("pycmbs.transport.zeromq.transport", "ZeroMQTransport"),
        "memory": ("pycmbs.transport.memory", "MemoryTransport"),
    }
)
"""Name of an implementation to its module and class."""


def load(name: str) -> type[Transport]:
    """The class behind the name of an implementation, imported now.

    Raises :class:`~pycmbs.errors.ConfigurationError` for a name that is not in :data:`IMPLEMENTATIONS`.
    """
    try:
        module, attribute = IMPLEMENTATIONS[name]
    except KeyError:
        known = ", ".join(sorted(IMPLEMENTATIONS))
        raise ConfigurationError(f"there is no transport {name!r}; there are {known}", transport=name) from None
    found: type[Transport] = getattr(import_module(module), attribute)
    return found
