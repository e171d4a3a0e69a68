"""The floor: a client that writes a call, reads its answer and decodes it. Arguments as of `client_kailash.py`."""

import asyncio
import json
import socket
import subprocess
import sys
from urllib.parse import urlsplit

from client_rounds import report

CALL = (
    b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"message":"%b"},'
    b'"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
    b'"io.modelcontextprotocol/clientCapabilities":{},'
    b'"io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1.0"}}}}'
)
HEAD = (
    b"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:%d\r\ncontent-type: application/json\r\n"
    b"accept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\n"
    b"mcp-method: tools/call\r\nmcp-name: echo\r\ncontent-length: %d\r\n\r\n"
)


class Pipes:
    """Over stdio."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def ask(self, body: bytes) -> bytes:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(body + b"\n")
        data = self.process.stdout.read(65536)
        while not data.endswith(b"\n"):
            data += self.process.stdout.read(65536)
        return data

    def close(self) -> None:
        self.process.communicate(timeout=5)


class Connection:
    """Over HTTP."""

    def __init__(self, url: str) -> None:
        self.port = urlsplit(url).port or 80
        self.socket = socket.create_connection(("127.0.0.1", self.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, body: bytes) -> bytes:
        self.socket.sendall(HEAD % (self.port, len(body)) + body)
        data = self.socket.recv(65536)
        while b"\r\n\r\n" not in data:
            data += self.socket.recv(65536)
        head, _, answer = data.partition(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(answer) < size:
            answer += self.socket.recv(65536)
        return answer

    def close(self) -> None:
        self.socket.close()


async def main() -> None:
    calls, target, *arguments = sys.argv[1:]
    peer = Connection(target) if target.startswith("http") else Pipes([target, *arguments])
    number = 0

    async def one(message: str) -> str:
        nonlocal number
        number += 1
        answer = json.loads(peer.ask(CALL % (number, message.encode())))
        assert answer["id"] == number
        return answer["result"]["content"][0]["text"]

    await report(one, int(calls))
    peer.close()


asyncio.run(main())
