"""Proves that `protocol` is ours: the name is generic, and a user's own `protocol.py` beside a script comes first.

Imported before anything else of the package, so it imports next to nothing itself.
"""

import os
import sys
from importlib.machinery import PathFinder

__all__ = ["check"]


def check() -> None:
    """Raise an ImportError naming the file, if another `protocol` than the one beside `kailash` would be imported."""
    here = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    ours = os.path.join(here, "protocol", "__init__.py")
    loaded = sys.modules.get("protocol")
    if loaded is not None:
        origin = getattr(loaded, "__file__", None)
    else:
        spec = PathFinder.find_spec("protocol")
        origin = None if spec is None else spec.origin
    if origin is None:
        raise ImportError(
            f"the package `protocol` of kailash-mcp-engine is missing: expected {ours}; reinstall kailash-mcp-engine"
        )
    if os.path.realpath(origin) != ours:
        raise ImportError(
            f"{origin} shadows the package `protocol` of kailash-mcp-engine ({ours}); "
            "rename that file, or uninstall the distribution it belongs to"
        )


check()
