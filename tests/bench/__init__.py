"""Measurements: `make bench`. They never assert on time."""
