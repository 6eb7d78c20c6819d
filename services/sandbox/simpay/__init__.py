"""Simpay, played: JSON over HTTP, HMAC both ways. Protocol: docs/sandbox.md."""
