"""Metrics: counted, summed and shown."""
