"""A deterministic simulation of the gateway and the ledger: one seed decides everything that happens (docs/simulation.md)."""
