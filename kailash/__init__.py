"""Build, serve and call Model Context Protocol servers."""

__version__ = "0.1.0"
