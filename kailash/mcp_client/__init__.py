"""Clients of MCP servers."""

from .client import MCPClient
from .config import ClientConfig, load_servers
from .results import ResourceResult, ToolResult
from .sync import SyncMCPClient

__all__ = ["ClientConfig", "MCPClient", "ResourceResult", "SyncMCPClient", "ToolResult", "load_servers"]
