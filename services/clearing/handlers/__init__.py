"""The gRPC face of clearing: `servicer` answers RPCs, `convert` turns messages into domain types and back."""
