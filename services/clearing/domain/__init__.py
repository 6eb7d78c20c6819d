"""What clearing knows and decides, pure."""
