"""Plays a bank that speaks ISO 20022: pain.001 in, pain.002 and camt out, over HTTP and in directories."""
