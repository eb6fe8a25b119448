"""Tests of the gateway seam: one contract for every implementation."""
