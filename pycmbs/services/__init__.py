"""What the broker does, for all its callers: HTTP, the command line, a gateway, or another member.

Knows neither HTTP nor sockets nor SQL. May import :mod:`pycmbs.occi`, :mod:`pycmbs.backends`, and of store and transport
the interface only (:mod:`pycmbs.store.base`, :mod:`pycmbs.transport.address`).
"""
