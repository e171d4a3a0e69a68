"""Codecs: bytes to whole frames and back, without any knowledge of MCP."""
