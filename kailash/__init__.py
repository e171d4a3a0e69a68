"""Kailash MCP: servers and clients of the Model Context Protocol on a sans-IO engine."""

from . import _guard as _guard

__version__ = "0.1.0"
