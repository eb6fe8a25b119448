"""The transport seam: how bytes get from one member to another, and what travels over it.

=================  ============================================================================================
module             what it holds
=================  ============================================================================================
``base``           the contract: :class:`~pycmbs.transport.base.Transport`, ``Arrival``, ``Receiver``
``address``        which socket URLs are addresses; pure, for validation only
``envelope``       the versioned bytes that a datagram carries; pure
``transports``     :class:`~pycmbs.transport.transports.Transports`: picks the transport by the URL's scheme
``zeromq``         ``tcp:``, ``ipc:``, ``inproc:``; beneath it ``zeromq_loop`` (the thread), ``zeromq_ports`` (what
                   it serves), ``zeromq_context`` (what those share) and ``resolver`` (host names)
``memory``         ``memory:``, within one process, for tests
=================  ============================================================================================

The package knows neither messages nor members nor stores: of pyCMBS it imports :mod:`pycmbs.errors`, :mod:`pycmbs.seams`
and a few modules that know nothing of it either. Importing it loads no library for sockets; an implementation is imported
when it is first used.
"""

from __future__ import annotations

from types import MappingProxyType

from pycmbs.seams import Seam
from pycmbs.transport.base import Transport

SCHEMES = MappingProxyType({"tcp": "zeromq", "ipc": "zeromq", "inproc": "zeromq", "memory": "memory"})
"""URL scheme to the name of the implementation that serves it."""

TRANSPORTS = MappingProxyType(
    {
        "zeromq": "pycmbs.transport.zeromq.transport:ZeroMQTransport",
        "memory": "pycmbs.transport.memory:MemoryTransport",
    }
)
"""The broker's own, by name."""

SEAM: Seam[Transport] = Seam("transport", Transport, TRANSPORTS)  # type: ignore[type-abstract] # what it loads is not
