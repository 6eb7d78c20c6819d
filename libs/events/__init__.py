"""News between services: a log written with the facts, a feed that serves it, a consumer.

The consumer stores its cursor in the transaction of the effect, so each event takes effect once.
"""
