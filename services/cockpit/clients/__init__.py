"""The other services, as the cockpit reads them."""
