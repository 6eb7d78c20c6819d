"""Sandbox: plays the outside channels over HTTP, so that the platform can be run and tried alone.

It decides what a payer, a bank and a channel would do (seeded, so the same reference always
behaves the same), owns its own durable book of what really happened, and calls nobody but the
notification addresses it was given. It promises real wire formats (a folder a provider), real signatures both ways, and faults on request. No real money is behind it.
"""
