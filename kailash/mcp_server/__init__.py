"""Servers and clients: the names of the public API, each imported when it is first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..errors import MCPError, MCPErrorCode
    from ..mcp_client import MCPClient, SyncMCPClient
    from .content import Audio, File, Image, ToolResult
    from .context import Context
    from .server import MCPServer
    from .simple import SimpleMCPServer
    from .web_options import HTTPOptions

__all__ = [
    "Audio",
    "Context",
    "File",
    "HTTPOptions",
    "Image",
    "MCPClient",
    "MCPError",
    "MCPErrorCode",
    "MCPServer",
    "SimpleMCPServer",
    "SyncMCPClient",
    "ToolResult",
]

_HOME = {
    "Audio": ".content",
    "Context": ".context",
    "File": ".content",
    "HTTPOptions": ".web_options",
    "Image": ".content",
    "MCPClient": "..mcp_client",
    "MCPError": "..errors",
    "MCPErrorCode": "..errors",
    "MCPServer": ".server",
    "SimpleMCPServer": ".simple",
    "SyncMCPClient": "..mcp_client",
    "ToolResult": ".content",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(home, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
