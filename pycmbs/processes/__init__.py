"""The processes of a broker: a small supervisor, front processes that speak HTTP, one engine that owns the sockets.

The supervisor starts the others by exec and gives them their orders through :mod:`pycmbs.processes.child`. Only the
store and the local sockets in the home connect them: killing any of them loses nothing that was accepted.
"""
