"""The server: everything the suite's server scenarios call for, over HTTP on one port."""

import argparse

from kailash.mcp_server import MCPServer

from .inputs import add_inputs
from .prompts import add_prompts
from .resources import add_resources
from .tasks import add_tasks
from .tools import add_tools

__all__ = ["make_server"]


def make_server() -> MCPServer:
    """Return the server, with all there is."""
    server = MCPServer(
        "kailash-conformance",
        instructions="Serves what the conformance suite asks for.",
        enable_http_transport=True,
    )
    add_tools(server)
    add_inputs(server)
    add_resources(server)
    add_prompts(server)
    add_tasks(server)
    return server


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m conformance.targets.ours.server", description=__doc__)
    parser.add_argument("--port", type=int, default=3001)
    port = parser.parse_args().port
    make_server().run(host="127.0.0.1", port=port)


if __name__ == "__main__":
    main()
