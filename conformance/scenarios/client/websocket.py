"""What a client does over WebSocket: whole messages from frames of every kind, and frames that are none."""

import json
from typing import Any

from ...client import ClientTrial
from ...scenario import Skip, scenario
from ...scripted import Call
from ...wire_ws import BINARY, CLOSE, CONTINUATION, PING, TEXT, frame

SOCKET = ("websocket",)


def _frame(opcode: int, payload: bytes, **options: Any) -> bytes:
    return frame(opcode, payload, **{"is_masked": False, **options})


def _answer(trial: ClientTrial, call: Call) -> bytes:
    result: dict[str, Any] = {"content": [{"type": "text", "text": "zażółć 🎉 done"}]}
    if trial.is_envelope:
        result["resultType"] = "complete"
    return json.dumps({"jsonrpc": "2.0", "id": call.message["id"], "result": result}, ensure_ascii=False).encode()


@scenario(covers=[225, 8], transports=SOCKET, role="client")
async def client_reads_frames(trial: ClientTrial) -> None:
    """A message in many frames, with pings between them and characters cut in two, is understood."""
    server = await trial.serve()
    server.tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("first", "second")]

    def call(handle: Call) -> None:
        text = _answer(trial, handle)
        pieces = [text[at : at + 7] for at in range(0, len(text), 7)]
        for index, piece in enumerate(pieces):
            opcode = CONTINUATION if index else TEXT
            server.write_raw(_frame(opcode, piece, is_last=index == len(pieces) - 1), f"{len(piece)} bytes of it")
            server.write_raw(_frame(PING, b"judge"), "a ping")
        handle.is_done = True

    server.scripts["tools/call"] = call
    status = await trial.run_client(server)
    count = len(server.requests("tools/call"))
    is_fine = status == 0 and count == 2
    trial.check(225, is_fine, f"{count} calls, the client ended with {status}: {trial.stderr[-200:]}")
    trial.check(8, is_fine, f"characters cut in two: the client ended with {status}")


HOSTILE: dict[str, Any] = {
    "a masked frame": lambda text: frame(TEXT, text),
    "a binary frame": lambda text: _frame(BINARY, text),
    "a frame of no known kind": lambda text: _frame(0x7, text),
    "a text that is no UTF-8": lambda text: _frame(TEXT, text.replace(b"done", b"\xff\xfe\xfd\xfc")),
    "a frame said to hold 2**40 bytes": lambda text: _frame(TEXT, text, size=1 << 40),
    "a close within a message": lambda text: _frame(TEXT, text[:9], is_last=False) + _frame(CLOSE, b"\x03\xe8"),
}
"""How the answer to a call comes, each on a connection of its own."""


@scenario(covers=[225, 8], transports=SOCKET, revisions="E", role="client")
async def client_meets_hostile_frames(trial: ClientTrial) -> None:
    """An answer in frames that RFC 6455 forbids is none: the client does not end as if all were well."""
    for what, build in HOSTILE.items():
        server = await trial.serve()

        def call(handle: Call, what: str = what, build: Any = build) -> None:
            handle.is_done = True
            handle.server.write_raw(build(_answer(trial, handle)), what)

        server.scripts["tools/call"] = call
        status = await trial.run_client(server, until=4.0)
        if not server.requests("tools/call"):
            raise Skip("the client called no tool")
        if what == "a text that is no UTF-8":
            trial.check(8, status != 0, f"{what} was taken for an answer")
        # That a lenient client takes it is no breach of this protocol.
        trial.advise(225, status != 0, f"{what} was taken for an answer")


@scenario(covers=[225], transports=SOCKET, revisions="E", role="client")
async def client_is_refused_a_socket(trial: ClientTrial) -> None:
    """A server that answers the upgrade with an error, or with a wrong key, is none: the client says so and ends."""
    for answer in (
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Judged\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
    ):
        server = await trial.serve()

        def refuse(handle: Call, answer: bytes = answer) -> None:
            handle.raw(answer)
            handle.end()

        server.scripts["GET"] = refuse
        status = await trial.run_client(server, until=6.0)
        if not server.heads:
            raise Skip("the client does not connect")
        trial.check(225, status != 0 and not server.messages, f"no socket was opened; the client ended with {status}")
