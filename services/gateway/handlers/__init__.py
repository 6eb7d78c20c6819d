"""gRPC in, gRPC out: contract ↔ domain, no decisions."""
