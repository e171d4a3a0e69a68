"""The environment a spawned server gets: an allow-list plus what its configuration names."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping

__all__ = ["child_environment"]

logger = logging.getLogger("kailash.adapters.spawn")

# What programs need to find their home, language and temporary files; secrets live elsewhere.
_POSIX = frozenset("PATH HOME USER LOGNAME SHELL TERM LANG LANGUAGE TMPDIR TEMP TMP TZ".split())
_WINDOWS = frozenset(
    (
        "APPDATA COMSPEC HOMEDRIVE HOMEPATH LOCALAPPDATA NUMBER_OF_PROCESSORS PATH PATHEXT "
        "PROCESSOR_ARCHITECTURE PROGRAMDATA PROGRAMFILES PROGRAMFILES(X86) PROGRAMW6432 "
        "SYSTEMDRIVE SYSTEMROOT TEMP TMP USERNAME USERPROFILE WINDIR"
    ).split()
)


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables a child process inherits by the allow-list, with `extra` laid over.

    Exported shell functions are dropped whatever their name: they are code.
    """
    kept: dict[str, str] = {}
    dropped: list[str] = []
    for name, value in os.environ.items():
        if _is_allowed(name) and not value.startswith("()"):
            kept[name] = value
        else:
            dropped.append(name)
    kept.update(extra or {})
    missing = sorted(set(dropped) - kept.keys())
    if missing:
        logger.debug("= not passed to the child process: %s", " ".join(missing))
    return kept


def _is_allowed(name: str) -> bool:
    if sys.platform == "win32":
        return name.upper() in _WINDOWS
    return name in _POSIX or name.startswith("LC_")
