"""Judging a server inside the process."""

import asyncio

import pytest

import kailash.testing
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


def test_what_is_not_judged_is_no_pass() -> None:
    server = MCPServer("empty")
    with pytest.raises(AssertionError, match="nothing was tested"):
        asyncio.run(assert_conformant(server, revisions=(NEWEST,), scenarios=("tool-error",)))
    with pytest.raises(ValueError, match="features-128"):
        asyncio.run(assert_conformant(server, allow=("features-1280",)))


def test_a_warning_fails_who_is_strict_and_an_allowed_requirement_nobody() -> None:
    server = MCPServer("faulty")

    @server.tool
    async def test_error_handling() -> str:
        """Should fail, and does not."""
        return "all is well"

    chosen = {"revisions": (NEWEST,), "scenarios": ("tool-error",)}
    found = asyncio.run(kailash.testing.assert_conformant(server, allow=("features-121",), **chosen))
    assert [outcome.verdict for outcome in found] == [Verdict.FAIL]
    with pytest.raises(AssertionError, match="features-121"):
        asyncio.run(kailash.testing.assert_conformant(server, strict=True, **chosen))
