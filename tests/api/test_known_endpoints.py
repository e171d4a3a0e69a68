"""What a client finds at an endpoint saves the next one the search, and never binds one that speaks something else."""

from __future__ import annotations

import anyio
import pytest

from kailash.mcp_client import MCPClient, connect, web
from kailash.mcp_client.verdicts import Verdicts
from protocol.client import ClientEngine
from protocol.profiles import ClientProfile
from protocol.revisions import REVISIONS
from protocol.types import Implementation

from .conftest import LAST_HANDSHAKE, NEWEST
from .webserver import serving

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def nothing_known() -> None:
    web._verdicts.clear()
    connect._eras.clear()


@pytest.mark.parametrize("transport", ["http", "memory"])
async def test_a_client_of_old_revisions_binds_no_other(transport: str) -> None:
    """The transcript that showed it: pinned to 2025-11-25, then free, and the second sent `initialize`."""
    async with serving() as server:
        target = server.url + "/mcp" if transport == "http" else server.server
        with anyio.fail_after(10):
            for wanted, revisions in [
                (LAST_HANDSHAKE, [LAST_HANDSHAKE]),
                (NEWEST, None),
                (REVISIONS[0].name, [REVISIONS[0].name]),
                (NEWEST, [NEWEST]),
                (LAST_HANDSHAKE, [LAST_HANDSHAKE]),
                (NEWEST, None),
            ]:
                async with MCPClient(target, revisions=revisions) as client:
                    assert client.protocol_version == wanted


class Speaker:
    """As much of a session as is asked about."""

    def __init__(self, *names: str) -> None:
        self.engine = ClientEngine(
            ClientProfile(Implementation(name="test", version="1"), revisions=[r for r in REVISIONS if r.name in names])
        )


def test_a_verdict_holds_for_those_who_speak_the_same() -> None:
    verdicts: Verdicts[str] = Verdicts(lambda: 0.0)
    verdicts.remember("there", Speaker(LAST_HANDSHAKE), "old")  # type: ignore[arg-type]
    assert verdicts.recall("there", Speaker(LAST_HANDSHAKE)) == "old"  # type: ignore[arg-type]
    assert verdicts.recall("there", Speaker(LAST_HANDSHAKE, NEWEST)) is None  # type: ignore[arg-type]
    assert verdicts.recall("elsewhere", Speaker(LAST_HANDSHAKE)) is None  # type: ignore[arg-type]
    verdicts.forget("there", Speaker(LAST_HANDSHAKE))  # type: ignore[arg-type]
    assert verdicts.recall("there", Speaker(LAST_HANDSHAKE)) is None  # type: ignore[arg-type]


def test_a_verdict_is_trusted_for_an_hour() -> None:
    now = 100.0
    verdicts: Verdicts[str] = Verdicts(lambda: now)
    both = Speaker(LAST_HANDSHAKE, NEWEST)
    verdicts.remember("there", both, "old")  # type: ignore[arg-type]
    now += 3599
    assert verdicts.recall("there", both) == "old"  # type: ignore[arg-type]
    now += 1
    assert verdicts.recall("there", both) is None  # type: ignore[arg-type]


def test_verdicts_are_bounded() -> None:
    verdicts: Verdicts[int] = Verdicts(lambda: 0.0)
    both = Speaker(NEWEST)
    for number in range(5000):
        verdicts.remember(number, both, number)  # type: ignore[arg-type]
    assert verdicts.recall(4999, both) == 4999  # type: ignore[arg-type]
    assert sum(verdicts.recall(number, both) is not None for number in range(5000)) <= 1024  # type: ignore[arg-type]
