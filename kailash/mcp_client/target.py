"""The two forms of `call_tool`, and the aliases of its keywords."""

from typing import Any

__all__ = ["target_of"]


def target_of(
    target: tuple[Any, ...], server: Any, tool: str | None, arguments: Any, params: Any, is_unbound: bool
) -> tuple[Any, str, Any]:
    """Return server (`None`: the client's own), tool and arguments, from either form of the call.

    Raises:
        TypeError: the arguments fit neither form.
    """
    if server is None and tool is None and not is_unbound and len(target) == 2 and type(target[0]) is str:
        if arguments is None and params is None:
            return None, target[0], target[1]  # a tool and its arguments, as nearly always
    rest = list(target)
    if server is None and rest and (not isinstance(rest[0], str) or len(rest) == 3 or (is_unbound and len(rest) > 1)):
        server = rest.pop(0)
    if tool is None and rest:
        tool = rest.pop(0)
    given = arguments if arguments is not None else params
    if rest:
        if given is not None or len(rest) > 1:
            raise TypeError("call_tool takes [server,] tool and arguments")
        given = rest[0]
    if not isinstance(tool, str):
        raise TypeError("call_tool needs the name of a tool")
    return server, tool, given
