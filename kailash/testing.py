"""For the test suites of those who write servers: the judge, inside the process."""

import importlib
from typing import Any

__all__ = ["assert_conformant"]

_JUDGES = ("kailash.conformance", "conformance")
"""Where the judge is: beside this module after an install, beside this package in a checkout."""


async def assert_conformant(server: Any, **options: Any) -> Any:
    """Judge a server in this process, in every revision that it speaks, and return what was found.

    Args:
        server: an `MCPServer`.
        **options: `fixtures`, the path of a file that says what it exposes, or the name of one that comes along
            (default `official`); `revisions` and `scenarios`, names (default all); `allow`, ids of requirements that
            it need not keep; `strict`, whether warnings count (default no); `timeout`, seconds for an answer (5).

    Raises:
        AssertionError: it broke a rule, or nothing was tested; the message shows each, with what passed on the wire.
        ValueError: a name that is none.
    """
    for name in _JUDGES:
        try:
            judge = importlib.import_module(f"{name}.memory")
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
        else:
            return await judge.assert_conformant(server, **options)
    raise ImportError("this installation has no judge; reinstall kailash-mcp-engine")
