"""Judging a server inside the process."""

import asyncio

import pytest

from conformance.check import Verdict
from conformance.memory import assert_conformant
from conformance.requirements import revisions
from conformance.targets.ours.server import make_server
from kailash.mcp_server import MCPServer

NEWEST = list(revisions())[-1]


def test_a_server_is_judged_in_memory() -> None:
    outcomes = asyncio.run(assert_conformant(make_server(page_size=10), fixtures="judge"))
    assert len(outcomes) > 150
    assert not [each.scenario for each in outcomes if each.verdict is Verdict.WARN]


def test_a_server_with_a_fault_is_no_conformant_one() -> None:
    server = MCPServer("faulty")

    @server.tool
    async def test_error_handling() -> str:
        """Should fail, and does not."""
        return "all is well"

    with pytest.raises(AssertionError, match="features-121"):
        asyncio.run(assert_conformant(server, revisions=(NEWEST,), scenarios=("tool-error",)))
