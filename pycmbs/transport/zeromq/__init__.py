"""ZeroMQ as a transport."""
