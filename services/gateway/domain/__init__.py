"""What a payment, a refund and a payout are and how they move: pure, without time, chance or I/O."""
