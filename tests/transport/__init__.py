"""Tests of the transport seam: one contract for every implementation, and what is special to each."""
