"""Other people's tests of OCCI, run against a real broker."""
