"""`SimpleMCPServer`: a server for trying things out."""

from typing import Any

from .server import MCPServer

__all__ = ["SimpleMCPServer"]


class SimpleMCPServer(MCPServer):
    """A server of which only the name must be said, and which shows callers why their tools failed.

    It is an `MCPServer` in all else: for production make one, because the text of an unexpected exception is nobody
    else's business.

    Args:
        name: shown to clients.
        description: likewise.
        options: those of `MCPServer`.
    """

    def __init__(self, name: str, description: str | None = None, **options: Any) -> None:
        super().__init__(name, **{"description": description, "debug": True, **options})
