"""Tests against real brokers in their own processes, over real sockets."""
