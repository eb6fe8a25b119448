"""Tests of the backend seam: one contract for every implementation, and what is special to each."""
