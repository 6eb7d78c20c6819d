"""Notification: tells merchants' systems what happened, until they have heard it.

Owns webhook endpoints with their secrets, deliveries and the record of every attempt. Follows the event feeds of gateway
and clearing, and calls merchants' endpoints over HTTP. Promises: one delivery for each event and endpoint; at least one
attempt, with the same webhook-id every time; a delivery ends heard or in the dead letters, never in between; secrets
are sealed at rest; nothing is sent to an address inside our own network.
"""
