"""Judging clients: a scripted server for each scenario, and the client run against it, whose messages are watched."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from .check import Outcome
from .clientmonitor import ClientMonitor
from .requirements import Revision, revisions
from .runner import CannotRun, Options, choose, chosen_revisions
from .scenario import EVERYWHERE, Scenario, Skip, Trial, run_scenario
from .scripted import ScriptedServer
from .wire import Tap

__all__ = ["ClientTarget", "ClientTrial", "judge_client"]

_STARTS_WITHIN = 20.0


@dataclass(slots=True)
class ClientTarget:
    """A client under test: a command that the address of a server is appended to."""

    command: str
    tap: Tap


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
        for server in self._servers:
            await server.close()


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
    work = [(s, r, t) for r, t in lanes for s in scenarios if s.fits(r, t)]
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
    return outcomes, []
