"""WebSocket: whole messages from frames of every kind, and frames that are none."""

import asyncio
import json
from typing import Any

from ...scenario import Trial, scenario
from ...wire_ws import BINARY, CLOSE, CONTINUATION, PING, TEXT, frame

SOCKET = ("websocket",)


def _text(talk: Any, request_id: str) -> bytes:
    message = talk.message("tools/list", None, {"id": request_id})
    talk.monitor.began(talk, message, "pipe")
    return json.dumps(message).encode()


async def _is_answered(talk: Any, request_id: str, timeout: float | None = None) -> bool:
    found = await talk.watch(lambda r: isinstance(r.message, dict) and r.message.get("id") == request_id, timeout)
    return found is not None


@scenario(covers=[225], transports=SOCKET, alone=True)
async def websocket_frames(trial: Trial) -> None:
    """A message in many frames, with pings between them, byte by byte, or beside others is understood."""
    talk = await trial.open(own=True)
    text = _text(talk, "fragments")
    pieces = [text[at : at + 9] for at in range(0, len(text), 9)]
    for index, piece in enumerate(pieces):
        opcode = CONTINUATION if index else TEXT
        talk.wire.write(frame(opcode, piece, is_last=index == len(pieces) - 1), f"{len(piece)} bytes of a message")
        talk.wire.write(frame(PING, b"judge"), "a ping")
    trial.check(225, await _is_answered(talk, "fragments"), "a message in fragments was not answered")
    data = frame(TEXT, _text(talk, "crumbs"))
    for at in range(len(data)):
        talk.wire.write(data[at : at + 1], "one byte")
        if at % 16 == 0:
            await talk.wire.drain()
            await asyncio.sleep(0)
    trial.check(225, await _is_answered(talk, "crumbs"), "a message byte by byte was not answered")
    talk.wire.write(b"".join(frame(TEXT, _text(talk, f"many{i}")) for i in range(3)), "three messages in one piece")
    for i in range(3):
        trial.check(225, await _is_answered(talk, f"many{i}"), "of three messages in one piece one was not answered")


HOSTILE: dict[str, Any] = {
    "an unmasked frame": lambda text: frame(TEXT, text, is_masked=False),
    "a binary frame": lambda text: frame(BINARY, text),
    "a frame of no known kind": lambda text: frame(0x7, text),
    "a continuation of nothing": lambda text: frame(CONTINUATION, text),
    "a text that is no UTF-8": lambda text: frame(TEXT, text.replace(b"tools/list", b"tools/\xff\xfe")),
    "a reserved bit": lambda text: bytes((0xC1,)) + frame(TEXT, text)[1:],
    "a frame said to hold 2**40 bytes": lambda text: frame(TEXT, text, size=1 << 40),
    "a ping of 200 bytes": lambda text: frame(PING, b"x" * 200),
    "a ping in two frames": lambda text: frame(PING, b"x", is_last=False),
    "a close within a message": lambda text: frame(TEXT, text[:9], is_last=False) + frame(CLOSE, b"\x03\xe8"),
    "a close with a code that may not be sent": lambda text: frame(CLOSE, b"\x03\xed"),
    "half a frame, and the end": lambda text: frame(TEXT, text)[:9],
}
"""What is sent on a connection of its own, each."""


@scenario(covers=[225, 8], transports=SOCKET, alone=True, seconds=40)
async def hostile_frames(trial: Trial) -> None:
    """Frames that RFC 6455 forbids end their own connection and harm no other; none is taken for a message."""
    talk = await trial.open(own=True)
    for what, build in HOSTILE.items():
        other = await trial.open(own=True)
        other.monitor.expects_odd = True
        other.wire.write(build(_text(other, "hostile")), what)
        if what.startswith("half"):
            other.wire.abort()
        if not await other.wire.wait_closed(0.3):
            is_served = await _is_answered(other, "hostile", 0.05)
            # That a lenient server takes it is no breach of this protocol.
            trial.advise(225, not is_served, f"{what} was taken for a message")
            if what == "a text that is no UTF-8":
                trial.check(8, not is_served, f"{what} was taken for a message")
        else:
            trial.check(225, True, f"{what}: {other.wire.close_code}")
        await other.close()
    reply = await talk.request("tools/list")
    trial.check(225, reply.result is not None, f"after hostile frames on other connections: {reply.show()}")
    trial.check(8, reply.result is not None, "the server goes on after bad UTF-8")


@scenario(covers=[225, 1, 14], transports=SOCKET, alone=True)
async def hostile_texts(trial: Trial) -> None:
    """Texts that are no message, deep nesting and the empty text do not stop a server."""
    talk = await trial.open(own=True)
    talk.monitor.expects_odd = True
    for data in (b"", b"\n", b"null", b"[]", b"[" * 5000, b'{"jsonrpc":"2.0","id":70002,"method":"tools/list"', b"5"):
        await talk.send_raw(data)
    await talk.wire.wait_closed(0.2)
    if talk.is_closed:  # to end the connection is an answer too
        talk = await trial.open(own=True)
    reply = await talk.request("tools/list")
    trial.check(225, reply.result is not None, f"after texts that are no message: {reply.show()}")


@scenario(covers=[225], transports=SOCKET, alone=True, seconds=30)
async def oversized_text(trial: Trial) -> None:
    """A text of many megabytes is served or refused, and other connections are served."""
    talk = await trial.open(own=True)
    other = await trial.open(own=True)
    other.monitor.expects_odd = True
    large = {"name": "judge-no-such-tool", "arguments": {"text": "x" * (8 << 20)}}
    pending = other.start("tools/call", large)
    await other.wire.drain()
    reply = await talk.request("tools/list", timeout=15)
    trial.check(225, reply.result is not None, f"beside 8 MiB: {reply.show()}")
    await asyncio.wait([pending.reply], timeout=0.5)


@scenario(covers=[225], transports=SOCKET, alone=True)
async def websocket_is_closed(trial: Trial) -> None:
    """A close is answered with a close, and the connection ends."""
    talk = await trial.open(own=True)
    await talk.request("tools/list")
    talk.wire.write(frame(CLOSE, b"\x03\xe8bye"), "close 1000")
    has_ended = await talk.wire.wait_closed(3.0)
    trial.check(225, has_ended, "the connection is still open 3 s after the close")
    if has_ended:
        trial.advise(225, talk.wire.close_code == 1000, f"a close was answered with the code {talk.wire.close_code}")
