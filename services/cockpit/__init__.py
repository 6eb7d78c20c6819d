"""Cockpit: decides nothing; draws what the others decided, as one live page for finance staff.

Owns read models only, in memory: business-day figures rebuilt from the gateway's event feed, and
the last answers of router, account, clearing, risk and notification. Calls them all, for reads
alone. Promises: the page always renders; what cannot be read is said to be down, with the time of
the last reading beside the figures that rest on it.
"""
