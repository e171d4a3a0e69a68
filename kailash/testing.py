"""For the test suites of those who write servers: the judge, inside the process."""

from typing import Any

from ._judge import judge_module

__all__ = ["assert_conformant"]


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
    return await judge_module("memory").assert_conformant(server, **options)
