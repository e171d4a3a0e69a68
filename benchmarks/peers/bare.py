"""The floor: read, decode, encode, write, with the fastest decoder there is and no protocol at all.

Over stdio, or over the socket of `--port=N` or `--path=`. `--core=N` pins it, for clients that start it themselves.
"""

import os
import socket
import sys
from collections.abc import Callable

from answers import Answers
from command_line import options


def serve(read: Callable[[int], bytes], write: Callable[[bytes], int]) -> None:
    answers = Answers()
    decode, of = answers.decode, answers.of
    rest = b""
    while data := read(1 << 20):
        lines = (rest + data).split(b"\n")
        rest = lines.pop()
        out = [answer for line in lines if (answer := of(decode(line))) is not None]
        if out:
            view = memoryview(b"\n".join(out) + b"\n")
            while view:
                view = view[write(view) :]


def main() -> None:
    given = options()
    if "core" in given:
        os.sched_setaffinity(0, {int(given["core"])})
    if "port" not in given and "path" not in given:
        serve(lambda size: os.read(0, size), lambda data: os.write(1, data))
        return
    if "path" in given:
        server = socket.socket(socket.AF_UNIX)
        server.bind(given["path"])
        server.listen()
    else:
        server = socket.create_server(("127.0.0.1", int(given["port"])))
        print(f"bare serves tcp://127.0.0.1:{server.getsockname()[1]}", file=sys.stderr, flush=True)
    while True:
        with server.accept()[0] as accepted:
            if "path" not in given:
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            serve(accepted.recv, accepted.send)


main()
