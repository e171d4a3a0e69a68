"""Whether a server is well, as a client finds it."""

from typing import Any, Protocol

import anyio

from ..errors import MCPError

__all__ = ["check_health"]


class Pingable(Protocol):
    """What a server is asked through."""

    @property
    def protocol_version(self) -> str | None:
        """The negotiated revision."""

    async def ping(self, *, timeout: float | None = None) -> None:
        """Return when the server has given a sign of life."""


async def check_health(client: Pingable, endpoint: str, timeout: float | None) -> dict[str, Any]:
    """Return how a server is; one that cannot be asked is unhealthy."""
    began = anyio.current_time()
    try:
        await client.ping(timeout=timeout)
    except MCPError as error:
        told = {"error": error.message, "error_code": int(error.error_code)}
        return {"status": "unhealthy", "server": endpoint, **told}
    return {
        "status": "healthy",
        "server": endpoint,
        "protocol_version": client.protocol_version,
        "latency_ms": round((anyio.current_time() - began) * 1000, 3),
    }
