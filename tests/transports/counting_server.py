"""A server that counts its own work: `python -m tests.transports.counting_server`, told as the benchmarks' peers are.

`--transport=stdio`, `http` or `websocket`, `--codec=h11` or `httptools`, `--memory=yes` to trace memory instead. The
tool `counts` tells what was done since the process began; what it costs itself is the same each time.
"""

import asyncio
import gc
import json
import os
import sys
import tracemalloc
from collections import Counter
from types import FrameType, ModuleType
from typing import Any

from benchmarks.peers.command_line import options

given = options()
counted: Counter[str] = Counter()


class CountedTask(asyncio.Task):  # type: ignore[type-arg]
    """A task that was counted when it was made."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        counted["tasks"] += 1
        super().__init__(*arguments, **more)


asyncio.Task = asyncio.tasks.Task = CountedTask  # type: ignore[misc]

import anyio  # noqa: E402
import anyio.lowlevel  # noqa: E402
import msgspec  # noqa: E402
import orjson  # noqa: E402

from kailash.mcp_server import MCPServer  # noqa: E402

READS = frozenset({"recv", "recv_into", "read", "readv"})
WRITES = frozenset({"send", "sendall", "sendmsg", "sendto", "write", "writev"})
KINDS = {
    **dict.fromkeys(("decode", "json_decode", "loads"), "decodes"),
    **dict.fromkeys(("encode", "encode_into", "json_encode", "dumps"), "encodes"),
}
"""The names under which msgspec and orjson read and write JSON."""
JSON = (msgspec.json.Decoder, msgspec.json.Encoder)
MODULES = ("msgspec._core", "orjson")
PYTHON_CODECS = {json.JSONDecoder.decode.__code__: "decodes", json.JSONEncoder.encode.__code__: "encodes"}


def profile(frame: FrameType, event: str, argument: Any) -> None:
    """Count what Python calls."""
    if event == "call":
        counted["calls"] += 1
        kind = PYTHON_CODECS.get(frame.f_code)
        if kind is not None:
            counted[kind] += 1
    elif event == "c_call":
        name, owner = argument.__name__, getattr(argument, "__self__", None)
        kind = KINDS.get(name)
        if kind is not None:
            counted[kind] += isinstance(owner, JSON) or getattr(argument, "__module__", None) in MODULES
        elif name in WRITES:
            counted["writes"] += _is_file(owner)
        elif name in READS:
            counted["reads"] += _is_file(owner)


def trace(frame: FrameType, event: str, argument: Any) -> Any:
    """Count what the interpreter executes."""
    if event == "opcode":
        counted["opcodes"] += 1
    elif event == "call":
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
    return trace


def _is_file(owner: Any) -> bool:
    return (isinstance(owner, ModuleType) and owner.__name__ == "posix") or type(owner).__name__ == "socket"


server = MCPServer(
    "counting", http_options={"http_codec": given.get("codec", "httptools")}, enable_websocket_transport=True
)


@server.tool(blocking=False)
def echo(message: str) -> str:
    return message


@server.tool
async def later(message: str) -> str:
    return message


@server.tool(blocking=False)
def wasteful(message: str) -> str:
    """Do once more what each call does already."""
    asyncio.get_running_loop().create_task(anyio.lowlevel.checkpoint())
    msgspec.json.decode(orjson.dumps(message))
    os.write(waste, b"x")
    return message


@server.tool(blocking=False)
def counts(message: str) -> str:
    # Nothing is collected meanwhile: what is left in cycles shows as tracked objects.
    found = {**counted, "tracked": gc.get_count()[0]}
    if tracemalloc.is_tracing():
        kept, peak = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        found |= {"kept": kept, "peak": peak}
    return json.dumps(found)


def say(port: int) -> None:
    print(f"counting serves http://127.0.0.1:{port}/", file=sys.stderr, flush=True)


async def main() -> None:
    if given["transport"] == "stdio":
        await server.run_stdio()
    else:
        await server.serve_http(port=0, started=say)


waste = os.open(os.devnull, os.O_WRONLY)
gc.collect()
gc.freeze()
gc.disable()
if "memory" in given:
    tracemalloc.start()
else:
    sys.settrace(trace)
    sys.setprofile(profile)
# Not uvloop: it writes where nobody sees it.
anyio.run(main, backend="asyncio")
