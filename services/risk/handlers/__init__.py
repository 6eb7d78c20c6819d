"""The gRPC face of risk: `servicer` answers RPCs, `convert` maps messages to domain types."""
