"""Notification's gRPC face."""

from services.notification.handlers.servicer import SERVICE_NAME, NotificationServicer

__all__ = ["SERVICE_NAME", "NotificationServicer"]
