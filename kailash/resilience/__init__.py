"""Policies that keep a server standing; they take `now` and never read a clock."""

from .cache import ResultCache

__all__ = ["ResultCache"]
