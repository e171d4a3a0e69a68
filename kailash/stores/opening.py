"""`open_store`: from what a user gives to a store."""

from .base import Store
from .memory import MemoryStore

__all__ = ["open_store"]

_SCHEMES = ("redis", "rediss", "unix")


def open_store(given: "str | Store | None", *, prefix: str = "kailash:") -> Store:
    """Return a store; nothing is connected before it is used.

    Args:
        given: a URL (`redis://…`, `rediss://…` for TLS, `unix://…`), a store, or `None` for one in this process.
        prefix: what every key and topic in Redis begins with; servers with the same one share everything.

    Raises:
        ValueError: the URL's scheme is unknown, or its parts make no sense.
        TypeError: what was given is no store.
        ImportError: the extra is missing.
    """
    if given is None:
        return MemoryStore()
    if not isinstance(given, str):
        if not isinstance(given, Store):
            raise TypeError(f"store is a URL or an object with the methods of Store, not {type(given).__name__}")
        return given
    scheme, separator, _ = given.partition("://")
    if not separator or scheme not in _SCHEMES:
        # The scheme at most: what follows may hold a password.
        shown = scheme if separator else "no URL"
        known = ", ".join(f"{each}://" for each in _SCHEMES)
        raise ValueError(f"unknown store ({shown}); known: {known}, or None for this process")
    from .redis import RedisStore  # of the extra `redis`; most servers have none

    return RedisStore(given, prefix=prefix)
