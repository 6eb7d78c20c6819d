"""What risk does: `evaluation` (the hot path), `administration` (rules, lists), `cases`."""
