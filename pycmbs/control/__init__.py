"""The local socket between the fronts and the engine of one broker."""
