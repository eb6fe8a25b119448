"""The client library: its parts without a network, and the whole against real brokers."""
