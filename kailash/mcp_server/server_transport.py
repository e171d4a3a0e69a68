"""`WebSocketServerTransport`: a server on a port of its own, where every path is a WebSocket."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .running import configure_logging
from .serving import Kinds, run_web, serve_until_cancelled

if TYPE_CHECKING:
    from .server import MCPServer

__all__ = ["WebSocketServerTransport"]

_ALONE = Kinds(http=False, websocket=True)


class WebSocketServerTransport:
    """Where and how a server accepts WebSockets: `server.run(transport)` blocks, `await transport.serve(server)` waits.

    Every path is a WebSocket; `/health`, `/ready` and, with metrics, `/metrics` answer plain requests.

    Args:
        host, port: where to listen; port 0 means a free one.
        ping_interval: seconds between two pings; `None`: none are sent.
        ping_timeout: seconds after a ping in which the client must say something.
        max_message_size: bytes of a message; longer ones close the connection with 1009. Default: the server's limit.
        options: further ones of `HTTPOptions`: `allowed_origins`, `ssl_certfile`, …
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 3001,
        *,
        ping_interval: float | None = 20.0,
        ping_timeout: float | None = 20.0,
        max_message_size: int | None = None,
        **options: Any,
    ) -> None:
        self.host = host
        self.port = port
        self.ping_interval = ping_interval
        self.ping_timeout = ping_timeout
        self.max_message_size = max_message_size
        self._options = options

    def __repr__(self) -> str:
        return f"WebSocketServerTransport({self.host!r}, {self.port})"

    def _http_options(self, server: "MCPServer") -> Any:
        own = {"ping_interval": self.ping_interval, "ping_timeout": self.ping_timeout}
        return server.http_options(max_message_size=self.max_message_size, **self._options).with_times(**own)

    def run(self, server: "MCPServer", *, workers: int = 1, log_level: str | None = None) -> None:
        """Serve until SIGTERM or SIGINT; blocks.

        Args:
            server: what is served.
            workers: processes that share the port.
            log_level: log to standard error from this level on.

        Raises:
            TypeError, ValueError: an unknown option, or one with a wrong value.
        """
        if log_level is not None:
            configure_logging(log_level)
        run_web(server, self._http_options(server), self.host, self.port, workers=workers, kinds=_ALONE)

    async def serve(self, server: "MCPServer", *, started: Callable[[int], Any] | None = None) -> None:
        """Serve in a loop of yours, on asyncio or trio, until cancelled.

        Args:
            server: what is served.
            started: called with the port once connections are accepted.

        Raises:
            OSError: the address is taken, or is none of this machine's.
        """
        options = self._http_options(server)
        await serve_until_cancelled(server, self.host, self.port, options, started, _ALONE)
