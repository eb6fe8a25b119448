"""OCCI over HTTP: routes, handlers, negotiation, the table of errors, and the eventlet server.

Handlers translate between requests and services; no rule of the broker lives here. May import services and renderings;
only :mod:`pycmbs.wsgi.server` may import eventlet.
"""
