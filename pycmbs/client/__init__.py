"""The client library: three lines of Python do what the curl calls of the README do.

::

    from pycmbs.client import Client

    with Client() as broker:  # finds the broker as the command line does
        sent = broker.publish("network.link", {"event": "link-down"}, wait=5)
        for row in sent.ledger:
            print(row.member, row.state, row.why, row.reason)

A user of HTTP like any other: it imports nothing of the broker but its errors. ``AsyncClient`` has the same methods, to be
awaited. What the broker refuses is raised as the error of :mod:`pycmbs.errors` that has its code; a broker that cannot be
reached is :class:`~pycmbs.errors.Unavailable`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pycmbs.client.asynchronous import AsyncClient
    from pycmbs.client.events import Change
    from pycmbs.client.places import Place, find
    from pycmbs.client.synchronous import Client
    from pycmbs.client.verbs import Failed, NotSettled
    from pycmbs.client.views import Member, Message, Outcome, Plan, Row, Sent

__all__ = [
    "AsyncClient",
    "Change",
    "Client",
    "Failed",
    "Member",
    "Message",
    "NotSettled",
    "Outcome",
    "Place",
    "Plan",
    "Row",
    "Sent",
    "find",
]

_MODULES = {
    "AsyncClient": "asynchronous",
    "Change": "events",
    "Client": "synchronous",
    "Failed": "verbs",
    "NotSettled": "verbs",
    "Place": "places",
    "find": "places",
}


def __getattr__(name: str) -> Any:
    """Imported on demand, so that commands without a connection need not load the HTTP library."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'views')}"), name)
