"""Tests of the engine: routes, the control socket, and two engines in one process over the memory transport."""
