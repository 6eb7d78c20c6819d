"""The gRPC face of risk: `servicer` answers RPCs, `convert` turns messages into domain types and back."""
