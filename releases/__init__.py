"""Releases: their specs, and how to load, verify, compare and describe them."""
