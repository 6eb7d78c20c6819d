"""The rules of the ledger, without I/O, clock or chance."""
