"""What every connector promises, for every provider there is, against the sandbox that plays it over HTTP.

A provider brings one `Rig` in `rigs/<its name>.py`; docs/adding-a-provider.md. Which promises are put to it follows from
its capabilities: none is skipped, none is asked for that it does not offer.
"""
