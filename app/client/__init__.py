"""A typed client of the service, on httpx. Answers are the service's own models; errors are ServiceError."""

from app.client.client import Client
from app.client.connection import ServiceError
from app.client.frames import Frame

__all__ = ["Client", "Frame", "ServiceError"]
