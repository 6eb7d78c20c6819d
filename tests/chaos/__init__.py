"""Crash tests: processes die at every named point, stores fall over under load, and afterwards all books agree."""
