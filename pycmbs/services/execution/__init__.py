"""Executes operations and handlers that other members' messages ask for: who may, and once in effect."""
