"""What the ledger does for its callers: booking (writes), and the chart of accounts (reads)."""
