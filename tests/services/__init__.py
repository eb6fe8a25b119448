"""Tests of the services: what the broker does, over the memory store and an engine that only remembers."""
