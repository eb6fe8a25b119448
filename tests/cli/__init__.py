"""The commands that ask a running broker: the real command, and real brokers."""
