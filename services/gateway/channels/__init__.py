"""Channel code: one folder a provider, each a `Connector` of `services.gateway.domain.channel`.

Wire formats, signatures and secrets of the outside world live here and nowhere else.
"""
