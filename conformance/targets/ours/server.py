"""The server: everything the server scenarios call for, over HTTP on one port or on its standard streams."""

import argparse

from kailash.mcp_server import MCPServer

from .extras import add_extras
from .inputs import add_inputs
from .prompts import add_prompts
from .resources import add_resources
from .tasks import add_tasks
from .tools import add_tools

__all__ = ["make_server"]


def make_server(*, page_size: int | None = None) -> MCPServer:
    """Return the server, with all there is."""
    server = MCPServer(
        "kailash-conformance",
        instructions="Serves what the conformance suite asks for.",
        enable_http_transport=True,
        enable_sse_transport=True,
        enable_websocket_transport=True,
        page_size=page_size,
    )
    add_tools(server)
    add_inputs(server)
    add_resources(server)
    add_prompts(server)
    add_tasks(server)
    add_extras(server)
    return server


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m conformance.targets.ours.server", description=__doc__)
    parser.add_argument("--port", type=int, default=3001)
    parser.add_argument("--stdio", action="store_true", help="serve on the standard streams instead")
    parser.add_argument("--page-size", type=int, help="entries per page of a list; default: all at once")
    given = parser.parse_args()
    server = make_server(page_size=given.page_size)
    if given.stdio:
        server.run("stdio")
    else:
        server.run("http", host="127.0.0.1", port=given.port)


if __name__ == "__main__":
    main()
