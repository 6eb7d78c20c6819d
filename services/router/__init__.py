"""Router: decides through which channels, in which order, an operation goes, and says why.

Owns channels with their capabilities, fees and limits, the statistics of what they really did, and
the log of every decision. Calls nobody. Promises: the same route_key gives the same plan for ever;
an outcome is counted once per attempt_id; a plan names every channel that it leaves out; a channel
that stops working sinks within a few outcomes.
"""
