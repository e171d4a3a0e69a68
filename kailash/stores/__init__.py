"""Stores: where rate limits, kept values, sessions and news live, in this process (default) or in Redis."""

from .base import Store, StoreError, Want
from .memory import MemoryStore
from .opening import open_store

__all__ = ["MemoryStore", "Store", "StoreError", "Want", "open_store"]
