"""Servers of what is written down, as their clients find them."""

import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from kailash.mcp_server import MCPClient, MCPError, MCPServer
from tests.unit.mcp_server.test_configuration import TOML, environment, write

from .conftest import Join

__all__ = ["environment"]


@pytest.mark.anyio
async def test_what_is_written_holds_over_the_wire(join: Join, revision: str, tmp_path: Path) -> None:
    server = MCPServer.from_config({"name": "wired", "page_size": 1, "instructions": "read me"}, debug=True)

    @server.tool
    def fail() -> None:
        raise KeyError("shown")

    server.add_tool(lambda: 1, name="one")
    async with join(server, revision) as client:
        assert client.instructions == "read me"
        page: Any = await client.request("tools/list")
        assert len(page["tools"]) == 1 and page["nextCursor"]
        with pytest.raises(MCPError, match="shown"):
            await client.call_tool("fail")


@pytest.mark.integration
@pytest.mark.anyio
async def test_run_takes_what_the_file_says(tmp_path: Path) -> None:
    write(tmp_path, TOML.replace("port = 8123", "port = 0").replace("rate_limit_config", "#"))
    write(tmp_path, "from kailash.mcp_server import MCPServer\nMCPServer.from_config('server.toml').run()\n", "s.py")
    async with await anyio.open_process(
        [sys.executable, "s.py"], cwd=tmp_path, env={"ADMIN_KEY": "k" * 20, "PATH": ""}
    ) as process:
        try:
            assert process.stderr is not None
            with anyio.fail_after(20):
                said = b""
                while b"/mcp" not in said:
                    said += await process.stderr.receive()
            url = next(word for word in said.decode().split() if word.endswith("/mcp"))
            async with MCPClient({"url": url, "auth": {"type": "api_key", "key": "k" * 20}}) as client:
                assert client.server_info is not None and client.server_info.name == "written"
        finally:
            process.kill()  # whatever happened: leaving waits for its end
