"""Tests of pyCMBS."""
