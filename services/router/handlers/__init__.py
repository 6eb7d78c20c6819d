"""The router's gRPC face."""

from services.router.handlers.servicer import SERVICE_NAME, RouterServicer

__all__ = ["SERVICE_NAME", "RouterServicer"]
