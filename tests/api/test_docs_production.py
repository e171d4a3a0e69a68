"""`docs/production.md`: its blocks run as they stand, and do over the wire what the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from kailash.errors import AuthorizationError
from kailash.mcp_client import MCPClient
from kailash.resilience.breaker import diagram

from .webserver import served

pytestmark = pytest.mark.anyio

PAGE = (Path(__file__).parents[2] / "docs" / "production.md").read_text()
SERVER, CLIENT = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run(block: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(block, "production.md", "exec"), names)
    return names


async def test_the_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    server = run(SERVER)["server"]
    async with served(server) as url:
        block = CLIENT.replace("http://127.0.0.1:8080", url)
        assert block != CLIENT
        client: MCPClient = run(block)["client"]
        async with client:
            assert await client.call_tool("order", {"number": 7}) == {"number": 7, "items": 3}
            await client.call_tool("order", {"number": 7})
            assert (await client.call_tool("cancel", {"number": 7})).text.startswith("order 7 cancelled for ")
            metrics = client.get_metrics()
            assert metrics is not None
        robot = {"url": url, "headers": {"X-API-Key": "key-of-the-robot-012345678"}}
        async with MCPClient(robot) as other:
            assert [tool.name for tool in await other.list_tools()] == ["order"]
            with pytest.raises(AuthorizationError, match=r"orders\.write"):
                await other.call_tool("cancel", {"number": 7})
    counted = server.get_metrics()
    assert (counted["tools_called"], counted["cache_hits"], counted["custom.orders_cancelled"]) == (3, 1, 1)
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [(line["name"], line["outcome"]) for line in lines] == [
        ("order", "ok"),
        ("order", "ok"),
        ("cancel", "ok"),
        ("cancel", "refused"),
    ]
    assert "key-of-the" not in (tmp_path / "audit.jsonl").read_text()


def test_the_diagram_is_the_table() -> None:
    assert f"```mermaid\n{diagram()}\n```" in PAGE
