"""The pipes: what stands on them, and their end."""

import asyncio
import json
from typing import Any

from ...dialect import META
from ...scenario import Trial, scenario


@scenario(covers=[46, 56], transports=("stdio",), alone=True)
async def end_of_input(trial: Trial) -> None:
    """A server ends when its standard input does."""
    talk = await trial.open(own=True)
    await talk.request("tools/list")
    talk.wire.close_input()
    status = await talk.wire.wait(3.0)
    trial.check(56, status is not None, "the server still runs 3 s after the end of its standard input")


@scenario(covers=[46], transports=("stdio",))
async def byte_by_byte(trial: Trial) -> None:
    """A message that comes byte by byte, with others behind it in one piece, is understood."""
    talk = await trial.open()
    pending = talk.start("tools/list", raw=b"")
    text = _line(talk.message("tools/list", None, {"id": pending.id}))
    for index in range(len(text)):
        talk.wire.write(text[index : index + 1])
        if index % 16 == 0:
            await talk.wire.drain()
            await asyncio.sleep(0)
    reply = await pending.wait()
    trial.check(46, reply.result is not None, f"byte by byte: {reply.show()}")
    several = [talk.start("tools/list", raw=b"") for _ in range(3)]
    talk.wire.write(b"".join(_line(talk.message("tools/list", None, {"id": each.id})) for each in several))
    replies = [await each.wait() for each in several]
    trial.check(46, all(r.result is not None for r in replies), "three messages in one piece were not all answered")


def _line(message: object) -> bytes:
    return json.dumps(message).encode() + b"\n"


@scenario(covers=[46, 8], transports=("stdio",))
async def hostile_lines(trial: Trial) -> None:
    """Blank lines, CRLF, bad UTF-8, deep nesting and half a message do not stop a server."""
    talk = await trial.open()
    talk.monitor.expects_odd = True
    for data in (
        b"\n\n  \n",
        b'{"jsonrpc":"2.0","method":"notifications/x"}\r\n',
        b"\xff\xfe\xfd\n",
        b'{"jsonrpc":"2.0","id":70001,"method":"\xff"}\n',
        b"[" * 5000 + b"\n",
        b'{"jsonrpc":"2.0","id":70002,"method":"tools/list"\n',
        b"null\n",
        b"[]\n",
    ):
        talk.wire.write(data)
        await talk.wire.drain()
    reply = await talk.request("tools/list")
    trial.check(46, reply.result is not None, f"after hostile lines: {reply.show()}")
    trial.check(8, reply.result is not None, "the server goes on after bad UTF-8")


@scenario(covers=[46], transports=("stdio",), seconds=30)
async def oversized_message(trial: Trial) -> None:
    """A message of many megabytes is served or refused, and the next one is served."""
    talk = await trial.open()
    talk.monitor.expects_odd = True
    params = {"name": "judge-no-such-tool", "arguments": {"text": "x" * (8 << 20)}}
    pending = talk.start("tools/call", params)
    await talk.wire.drain()
    reply = await talk.request("tools/list", timeout=15)
    trial.check(46, reply.result is not None, f"after 8 MiB: {reply.show()}")
    await asyncio.wait([pending.reply], timeout=0.5)


@scenario(covers=[57], revisions="E", transports=("stdio",), alone=True)
async def older_clients(trial: Trial) -> None:
    """A server of the newest revision alone tells an older client which it speaks."""
    talk = await trial.open(own=True)
    versions = talk.welcome.get("supportedVersions") or []
    info = {"name": "judge", "version": "1"}
    params = {"protocolVersion": "older", "capabilities": {}, "clientInfo": info}
    reply = await talk.request("initialize", params, stamp=False)
    if reply.result is not None:
        trial.skip(57, "the server speaks older revisions too")
        return
    trial.check(57, any(str(v) in str(reply.error) for v in versions), f"initialize: {reply.show()}")


@scenario(covers=[42, 40], revisions="E", transports=("stdio",), alone=True)
async def both_eras_on_one_pipe(trial: Trial) -> None:
    """A request of the newest revision is served by what it says of itself, whatever was said on the pipe before."""
    talk = await trial.open(own=True)
    info = {"name": "judge", "version": "1"}
    params = {"protocolVersion": "older", "capabilities": {"sampling": {}}, "clientInfo": info}
    await talk.request("initialize", params, stamp=False)
    reply = await talk.request("tools/list")
    trial.check(42, (reply.result or {}).get("resultType") == "complete", f"after initialize: {reply.show()}")
    wanted = trial.fixtures.find("tools", "input_sampling")
    if wanted is not None:
        meta: dict[str, Any] = {f"{META}clientCapabilities": {}}
        reply = await talk.request("tools/call", {"name": wanted["name"], "arguments": {}}, meta=meta)
        trial.check(40, reply.error is not None, f"the capabilities of the handshake were counted: {reply.show()}")
