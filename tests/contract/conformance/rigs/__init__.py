"""What the suite must know of each provider that its description does not say."""
