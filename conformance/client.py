"""Judging clients: a scripted server for each scenario, and the client run against it, whose messages are watched."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from .check import Outcome, Verdict
from .clientmonitor import ClientMonitor
from .dialect import META
from .requirements import Revision, revisions
from .runner import CannotRun, Options, choose, chosen_revisions
from .scenario import EVERYWHERE, Scenario, Skip, Trial, run_scenario
from .scripted import ScriptedServer
from .wire import Tap

__all__ = ["ClientTarget", "ClientTrial", "judge_client"]

_STARTS_WITHIN = 20.0


_USUAL = 5.0
"""Seconds for an answer, unless more or less is asked for."""
_FIRST = "client-uses-a-server"
"""The scenario that tells whether a client speaks a revision at all."""
_VERSION = f"{META}protocolVersion"


@dataclass(slots=True)
class ClientTarget:
    """A client under test: a command that the address of a server is appended to."""

    command: str
    tap: Tap
    spoken: set[tuple[str, str]] = field(default_factory=set)
    """Where the client was seen to speak the revision, of revision and transport."""


class Closable(Protocol):
    """Something that was started."""

    async def close(self) -> None: ...


class ClientTrial(Trial):
    """One run of a scenario with a client."""

    target: Any

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.stderr = ""
        self.status: int | None = None
        self._servers: list[Closable] = []

    async def serve(self, monitor: ClientMonitor | None = None) -> ScriptedServer:
        """Start a scripted server, sound until the scenario changes it."""
        watch = monitor or ClientMonitor(self.observe)
        server = ScriptedServer(self.revision, self.transport, watch, self.transcript, self.target.tap)
        await server.start()
        self.keep(server)
        return server

    def keep(self, server: Closable) -> None:
        """Close something in the end."""
        self._servers.append(server)

    @contextlib.asynccontextmanager
    async def client_running(self, server: ScriptedServer, **options: Any) -> AsyncIterator["asyncio.Task[int | None]"]:
        """Run the client while the scenario goes on, and wait for its end."""
        running = asyncio.ensure_future(self.run_client(server, **options))
        running.add_done_callback(lambda _: server.stir())
        try:
            yield running
            await running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def run_client(self, server: ScriptedServer, *, until: float = 8.0, **env: str) -> int | None:
        """Run the client against a server and return its exit status; `None` if it had to be stopped.

        Args:
            server: whose address it is given.
            until: seconds after its first word in which it has to end.
            env: more of its environment; what is empty is left out.

        Raises:
            Skip: it did not even connect.
        """
        more = {
            "MCP_CONFORMANCE_SCENARIO": self.scenario.id,
            "MCP_CONFORMANCE_PROTOCOL_VERSION": self.revision.name,
            **env,
        }
        given = {name: value for name, value in {**os.environ, **more}.items() if value}
        until *= max(1.0, self.timeout / _USUAL)  # who is given more time to answer is given more to start, too
        quiet, pipe = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE
        command = f"exec {self.target.command} {server.address}"
        process = await asyncio.create_subprocess_shell(command, stdin=quiet, stdout=quiet, stderr=pipe, env=given)
        ending = asyncio.ensure_future(process.communicate())
        connecting = asyncio.ensure_future(server.is_connected.wait())
        try:
            # A machine that is busy starts it late; that is no fault of the client's.
            await asyncio.wait([ending, connecting], timeout=_STARTS_WITHIN, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([ending], timeout=until)
            if ending.done():
                self.status = process.returncode
                self.stderr = ending.result()[1].decode("utf-8", "replace")
            else:
                self.transcript.add("-", "judge", f"the client still ran after {until:g} s and was stopped")
                self.status = None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            connecting.cancel()
            await asyncio.gather(ending, connecting, return_exceptions=True)
        self.transcript.add("-", "client", f"exit status {self.status}; {self.stderr[-300:]}")
        if not server.is_connected.is_set():
            last = self.stderr.strip().rpartition("\n")[2]
            raise Skip(f"the client did not connect; it ended with {self.status}: {last[:200]}")
        return self.status

    async def close(self, *, is_sound: bool) -> None:
        """Stop the servers."""
        if self.scenario.id == _FIRST and any(_has_spoken(each) for each in self._servers):
            self.target.spoken.add((self.revision.name, self.transport))
        for server in self._servers:
            await server.close()


def _has_spoken(server: Closable) -> bool:
    """Tell whether a client took up the revision that a server speaks: a greeting in another one does not count."""
    messages = [m for m in getattr(server, "messages", ()) if isinstance(m, dict) and isinstance(m.get("method"), str)]
    if not isinstance(server, ScriptedServer) or not server.revision.is_envelope:
        return any(message["method"] not in ("initialize", "server/discover") for message in messages)
    return any(
        message["method"] == "server/discover" or _VERSION in ((message.get("params") or {}).get("_meta") or {})
        for message in messages
    )


async def judge_client(
    command: str,
    options: Options,
    ended: Callable[[Outcome, int, int], None] = lambda *_: None,
    tap: Tap | None = None,
) -> tuple[list[Outcome], list[str]]:
    """Judge a client and return what was found, and remarks about what was not tried.

    Raises:
        CannotRun: there is nothing to run.
    """
    target = ClientTarget(command, tap or Tap())
    transports = options.transports or EVERYWHERE
    if unknown := [each for each in transports if each not in EVERYWHERE]:
        raise CannotRun(f"no transport is named {', '.join(unknown)}; there are {', '.join(EVERYWHERE)}")
    scenarios = choose("client", options.scenarios)
    lanes = [(r, t) for t in transports for r in chosen_revisions(options.revisions) if t in r.transports]
    work = [(s, r, t) for r, t in lanes for s in scenarios if options.wants(s, r, t)]
    if not work:
        raise CannotRun("no scenario fits these revisions and transports")
    outcomes: list[Outcome] = []
    gate = asyncio.Semaphore(max(1, options.jobs))

    async def one(which: Scenario, revision: Revision, transport: str) -> None:
        async with gate:
            found = await run_scenario(
                which, revision, transport, target, options.fixtures, options.timeout, make=ClientTrial
            )
            outcomes.append(found)
            ended(found, len(outcomes), len(work))

    async with asyncio.TaskGroup() as group:
        for each in work:
            group.create_task(one(*each))
    order = {name: index for index, name in enumerate(revisions())}
    outcomes.sort(key=lambda o: (o.transport, order[o.revision], o.scenario))
    remarks = []
    for revision, transport in lanes:
        lane = [o for o in outcomes if (o.revision, o.transport) == (revision.name, transport)]
        is_silent = (revision.name, transport) not in target.spoken and any(o.scenario == _FIRST for o in lane)
        if is_silent and not any(o.checks_with(Verdict.ERROR) for o in lane):
            # It did not get as far as to speak: it does not, and that is no fault.
            outcomes = [o for o in outcomes if o not in lane]
            remarks.append(f"{transport}: {revision.name}: the client does not speak it")
    if not outcomes:
        raise CannotRun("; ".join(remarks))
    return outcomes, remarks
