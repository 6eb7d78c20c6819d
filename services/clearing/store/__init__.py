"""All SQL of clearing. Functions take the connection of the caller's transaction."""
