"""What the tests of the client role share: making a call."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from protocol import (
    REVISIONS,
    CallToolParams,
)
from tests.pair import (
    HANDSHAKES,
    Talk,
)

IO = "io.modelcontextprotocol/"
EXTENSION = f"{IO}tasks"
ALL = pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)
OLD = pytest.mark.parametrize("revision", HANDSHAKES, ids=lambda revision: revision.name)
TOOL = CallToolParams(name="t", arguments=Raw(b'{"a":1}'))


def ask(talk: Talk, method: str = "tools/call", params: Any = TOOL, **options: Any) -> tuple[Any, Any]:
    """Make a call; return it and its message."""
    call = talk.engine.send_request(method, None if method == "tools/list" and params is TOOL else params, **options)
    (message,) = talk.hear()
    return call, message
