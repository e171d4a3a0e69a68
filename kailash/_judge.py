"""Where the judge is: beside this module after an install, beside this package in a checkout."""

import importlib
from typing import Any

__all__ = ["judge_module"]

_HOMES = ("kailash.conformance", "conformance")


def judge_module(name: str) -> Any:
    """Return a module of the judge.

    Raises:
        ImportError: this installation has none.
    """
    for home in _HOMES:
        try:
            return importlib.import_module(f"{home}.{name}")
        except ModuleNotFoundError as error:
            if error.name != home:
                raise
    raise ImportError("this installation has no judge; reinstall kailash-mcp-engine")
