"""Proves that `protocol` is ours: the name is generic, and a user's own `protocol.py` beside a script comes first.

Imported before anything else of the package.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

__all__ = ["check"]


def check() -> None:
    """Raise an ImportError that names the file, if another `protocol` would be imported than the one beside `kailash`."""
    ours = Path(__file__).resolve().parent.parent / "protocol" / "__init__.py"
    loaded = sys.modules.get("protocol")
    if loaded is not None:
        origin = getattr(loaded, "__file__", None)
    else:
        spec = find_spec("protocol")
        origin = None if spec is None else spec.origin
    if origin is None:
        raise ImportError(
            f"the package `protocol` of kailash-mcp-engine is missing: expected {ours}; reinstall kailash-mcp-engine"
        )
    if Path(origin).resolve() != ours:
        raise ImportError(
            f"{origin} shadows the package `protocol` of kailash-mcp-engine ({ours}); "
            "rename that file, or uninstall the distribution it belongs to"
        )


check()
