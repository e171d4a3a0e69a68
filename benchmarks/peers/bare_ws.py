"""The floor over WebSockets: wsproto on an `asyncio.Protocol`, echoing each request as it came: `--port=N`."""

import asyncio
from typing import Any

from command_line import options
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Request, TextMessage


class Connection(asyncio.Protocol):
    transport: Any

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.ws = WSConnection(ConnectionType.SERVER)

    def data_received(self, data: bytes) -> None:
        ws, out = self.ws, []
        ws.receive_data(data)
        for event in ws.events():
            if isinstance(event, TextMessage):
                if '"id"' in event.data:
                    out.append(ws.send(TextMessage(data=event.data)))
            elif isinstance(event, Request):
                out.append(ws.send(AcceptConnection()))
            elif isinstance(event, CloseConnection):
                out.append(ws.send(event.response()))
                self.transport.close()
        self.transport.write(b"".join(out))


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", int(options()["port"]))
    await server.serve_forever()


try:
    import uvloop
except ImportError:
    asyncio.run(main())
else:
    uvloop.run(main())
