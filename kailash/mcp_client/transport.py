"""`WebSocketTransport`: how to reach a server behind a WebSocket, as an object that a client is made with."""

from collections.abc import Sequence
from typing import Any

from .config import ClientConfig

__all__ = ["WebSocketTransport"]


class WebSocketTransport:
    """Where a server is, and how its WebSocket is kept: `MCPClient(WebSocketTransport("wss://…"))`.

    Args:
        url: `ws://…` or `wss://…`.
        subprotocols: offered in the order of our liking.
        ping_interval: seconds between two pings; `None`: none are sent.
        ping_timeout: seconds after a ping in which the server must say something.
        headers: of the handshake, or a callable that returns them.
        allow_localhost: connect to this machine and to private networks too.
        skip_security_validation: do not look at the addresses of the host at all: for tests alone.
        options: further keys of a client's config: `auth`, `ca_file`, `compression`, `timeout`, …
    """

    def __init__(
        self,
        url: str,
        *,
        subprotocols: Sequence[str] = ("mcp",),
        ping_interval: float | None = 20.0,
        ping_timeout: float | None = 20.0,
        headers: Any = None,
        allow_localhost: bool = True,
        skip_security_validation: bool = False,
        **options: Any,
    ) -> None:
        self.url = url
        self.subprotocols = list(subprotocols)
        self.ping_interval = ping_interval
        self.ping_timeout = ping_timeout
        self._config = ClientConfig.of(
            {
                **options,
                "transport": "websocket",
                "url": url,
                "subprotocols": self.subprotocols,
                "ping_interval": ping_interval,
                "ping_timeout": ping_timeout,
                "headers": headers,
                "allow_localhost": allow_localhost,
                "skip_security_validation": skip_security_validation,
            }
        )

    def client_config(self) -> ClientConfig:
        """Return the config of a client that connects so."""
        return self._config

    def __repr__(self) -> str:
        return f"WebSocketTransport({self._config.endpoint})"
