"""What risk does, one method an intent: `evaluation` (the hot path), `administration` (rules, lists), `cases`."""
