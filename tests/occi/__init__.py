"""Tests of the OCCI model: names, definitions, entities, and how they look on the wire. No I/O."""
