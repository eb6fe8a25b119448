"""OCCI as a service: categories, and entities that are made, found, changed, deleted and acted on, whatever their kind."""
