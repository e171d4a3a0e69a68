"""What the API tests share: both backends, and clients joined to servers in memory."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from kailash.mcp_server import MCPClient, MCPServer
from protocol.revisions import REVISIONS

NEWEST = REVISIONS[-1].name
LAST_HANDSHAKE = REVISIONS[-2].name


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[NEWEST, LAST_HANDSHAKE])
def revision(request: pytest.FixtureRequest) -> str:
    """The newest revision of each era."""
    return str(request.param)


Join = Callable[..., AbstractAsyncContextManager[MCPClient]]


@pytest.fixture
def join() -> Join:
    """Open a client of a server in this process, in one revision."""

    @asynccontextmanager
    async def open_client(server: MCPServer, revision: str | None = None, **options: Any) -> AsyncIterator[MCPClient]:
        revisions = None if revision is None else [revision]
        async with MCPClient(server, revisions=revisions, **options) as client:
            yield client

    return open_client
