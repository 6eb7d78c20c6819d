"""The rules of routing, without time, chance or I/O."""
