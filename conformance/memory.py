"""Judging a server inside the process: for the test suites of those who write servers.

Users call `kailash.testing.assert_conformant(server)`, which is the function of here; `docs/conformance.md` shows it.
`server` is anything with `open_memory(peer)`, as a Kailash `MCPServer` has: it is given one end of a pipe, and
returns the other.
"""

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from protocol.framing.lines import LineCodec

from .check import Outcome, Verdict
from .fixture import Fixtures, read_fixtures
from .report import excerpt
from .requirements import requirements
from .runner import Options, judge_server, like
from .scenario import Skip
from .target import ServerTarget
from .wire import LARGEST, PipeWire, Tap, Transcript

__all__ = ["MemoryTarget", "assert_conformant"]


class _MemoryWire(PipeWire):
    """The judge's end of a pipe inside the process."""

    has_process = False
    closed = False

    def __init__(self, server: Any, transcript: Transcript, tap: Tap) -> None:
        super().__init__([], transcript, tap)
        self._server = server
        self._far: Any = None
        self._codec = LineCodec(LARGEST)
        self._is_deaf = False
        self._held: list[bytes] = []

    async def open(self, env: Any = None) -> None:
        """Connect."""
        self._far = self._server.open_memory(self)

    # What the server's end calls.

    def attach(self, peer: Any) -> None:
        """Take the other end."""
        self._far = peer

    def deliver(self, data: bytes) -> None:
        """Take bytes of the server's."""
        if self._is_deaf:
            self._held.append(data)
            return
        self._take(self._codec.receive_data(data))
        asyncio.get_running_loop().call_soon(self._far.taken)

    def deliver_end(self) -> None:
        """Take the end of what the server writes."""
        self.is_at_end = True
        self._lines.put_nowait(None)

    def undelivered(self) -> int:
        """Return how many bytes wait to be read: none, unless the judge is deaf."""
        return sum(map(len, self._held))

    def deafen(self) -> None:
        """Read nothing from now on."""
        self._is_deaf = True

    def hear(self) -> None:
        """Read again."""
        self._is_deaf = False
        held, self._held = b"".join(self._held), []
        if held:
            self.deliver(held)

    def taken(self) -> None:
        """Learn that the server has read everything."""

    # What the judge calls.

    def write(self, data: bytes) -> None:
        """Write bytes as they are."""
        self.transcript.add(">", "stdin", data.removesuffix(b"\n"))
        self._far.deliver(data)

    async def drain(self) -> None:
        """Let the server read."""
        await asyncio.sleep(0)

    def close_input(self) -> None:
        """End what the judge writes."""
        self._far.deliver_end()

    def terminate(self) -> None:
        """Nobody sends signals to a server in the process."""
        raise Skip("a server in the process is not told to end by a signal")

    async def wait(self, timeout: float) -> int | None:
        """Wait for the server's end."""
        for _ in range(int(timeout / 0.01)):
            if self.is_at_end:
                return 0
            await asyncio.sleep(0.01)
        return None

    async def close(self, patience: float = 0.5) -> None:
        """Hang up."""
        if not self.is_at_end:
            self._far.deliver_end()
            await self.wait(patience)
        self.closed = True


class MemoryTarget(ServerTarget):
    """A server inside the process."""

    def __init__(self, server: Any) -> None:
        super().__init__(command="(in memory)")
        self._server = server

    def make_wire(self, transcript: Transcript) -> PipeWire:
        """Return a wire to the server."""
        return _MemoryWire(self._server, transcript, self.tap)


async def assert_conformant(
    server: Any,
    *,
    fixtures: str | Fixtures = "official",
    revisions: Sequence[str] = (),
    scenarios: Sequence[str] = (),
    allow: Sequence[str] = (),
    strict: bool = False,
    timeout: float = 5.0,
) -> list[Outcome]:
    """Judge a server in this process, in every revision that it speaks, and return what was found.

    Args:
        server: has `open_memory(peer)`, and may have `running()`, which is held meanwhile.
        fixtures: what it exposes: a path, or the name of a file that comes along; see `fixture`.
        revisions, scenarios: names; default all. It must speak each revision that is named.
        allow: ids of requirements that it need not keep.
        strict: warnings count too.
        timeout: seconds for an answer.

    Raises:
        AssertionError: it broke a rule, or nothing was tested; the message names each, with what passed on the wire.
        ValueError: `allow` holds what is no requirement.
        CannotRun: no such revision or scenario, or the server speaks none of them.
    """
    known = {requirement.id for requirement in requirements().values()}
    if unknown := [name for name in allow if name not in known]:
        raise ValueError(f"no requirement is named {', '.join(unknown)}{like(unknown[0], known)}")
    found = read_fixtures(fixtures) if isinstance(fixtures, str) else fixtures
    options = Options(fixtures=found, revisions=tuple(revisions), scenarios=tuple(scenarios), timeout=timeout, jobs=5)
    running = server.running() if hasattr(server, "running") else nullcontext()
    async with running:
        outcomes, remarks = await judge_server(MemoryTarget(server), options)
    broken = [] if not revisions else [each for each in remarks if any(name in each for name in revisions)]
    bad = (Verdict.FAIL, Verdict.ERROR, *((Verdict.WARN,) if strict else ()))
    for outcome in outcomes:
        for check in outcome.checks_with(*bad):
            requirement = requirements()[check.rule]
            if requirement.id not in allow:
                wire = "\n    ".join(excerpt(outcome, check))
                broken.append(
                    f"{requirement.id} in {outcome.revision} ({outcome.scenario}): {check.detail}\n    {wire}"
                )
    if broken:
        raise AssertionError(f"{len(broken)} requirements are not kept\n" + "\n".join(broken))
    if all(outcome.verdict is Verdict.SKIP for outcome in outcomes):
        raise AssertionError("nothing was tested: " + "; ".join(remarks or ["no scenario found what it needs"]))
    return outcomes
