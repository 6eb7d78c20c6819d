"""What callers and workers want of the gateway, one method an intent. The Protocols they need stand in ports.py."""
