"""Simpay, the simulated provider: plain JSON over HTTP, signed with HMAC-SHA256.

Its protocol is ours (docs of `services/sandbox`); several instances run, one a channel.
"""
