"""The OCCI model: categories, attributes, entities, and what makes an entity valid.

Pure values and functions: no I/O, no HTTP, no store. May import only :mod:`pycmbs.errors`. How the model looks on the
wire is in :mod:`pycmbs.occi.rendering`.
"""
