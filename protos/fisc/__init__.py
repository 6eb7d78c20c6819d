"""Contracts of the Fisc platform: one package a service and version, and a typed async client in fisc.client."""
