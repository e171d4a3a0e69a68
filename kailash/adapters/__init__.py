"""Adapters move bytes, run tasks and sleep until deadlines; nothing here knows MCP."""
