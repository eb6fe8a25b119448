"""The engine: the one process that owns every socket towards other members, and works from the store's outbox.

Plain threads, no eventlet. The transport's thread never waits for the store: what arrives is handed to a worker that takes
in a whole turn with one commit (:mod:`inbound`) or settles it (:mod:`outbound`). May import services, store and transport
interfaces; nothing imports it but :mod:`pycmbs.broker` and the process entries.
"""
