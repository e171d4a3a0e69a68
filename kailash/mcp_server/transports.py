"""Transports as objects: what a client connects with, and what a server listens with."""

from ..mcp_client.transport import WebSocketTransport
from .server_transport import WebSocketServerTransport

__all__ = ["WebSocketServerTransport", "WebSocketTransport"]
