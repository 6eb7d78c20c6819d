"""Faults of the wires between real processes, and load beyond capacity: `make faults`, `make overload`."""
