"""OCCI as a service: categories, and entities of any kind, created, found, changed, deleted and acted on."""
