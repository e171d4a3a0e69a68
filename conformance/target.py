"""Targets: a server that is started as a child, one that is reached by its URL, or one that is started to serve one."""

import asyncio
import socket
from typing import Any

from .conversations import HttpConversation, PipeConversation
from .dialect import FULL, Conversation, Locked, NoAnswer, NotSpoken
from .fixture import Fixtures
from .monitor import ServerMonitor
from .requirements import Revision
from .scenario import Trial
from .tokens import Tokens
from .wire import Broken, HttpWire, PipeWire, Tap, Transcript

__all__ = ["ServerTarget"]

_STARTS_WITHIN = 20.0
_LISTS = (
    ("tools/list", "tools", "name"),
    ("prompts/list", "prompts", "name"),
    ("resources/list", "resources", "uri"),
    ("resources/templates/list", "resourceTemplates", "uriTemplate"),
)


class ServerTarget:
    """A server under test.

    Args:
        command: starts it on its standard streams.
        url: where it serves Streamable HTTP.
        serve: starts it to serve HTTP; `{port}` stands for the port, and `url` may say it too.
        tap: stands on the wire; see `wire.Tap`.
        tokens: what it demands over HTTP, if it does.
    """

    def __init__(
        self,
        *,
        command: str | None = None,
        url: str | None = None,
        serve: str | None = None,
        tap: Tap | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        self.command = command
        self.url = url
        self._serve = serve
        self.tap = tap or Tap()
        self.tokens = tokens or Tokens()
        self.is_locked = False
        """It let nobody in."""
        self._process: asyncio.subprocess.Process | None = None
        self._shared: dict[str, PipeConversation] = {}
        self.spoken: set[tuple[str, str]] = set()
        """Where anything was said at all, of revision and transport."""

    @property
    def transports(self) -> tuple[str, ...]:
        """The transports it can be judged over."""
        return (*(("stdio",) if self.command else ()), *(("http",) if self.url or self._serve else ()))

    @property
    def secrets(self) -> dict[str, str]:
        """What no transcript shows, and what it shows instead."""
        return self.tokens.secrets

    async def start(self) -> None:
        """Start what serves HTTP and wait until it answers.

        Raises:
            Broken: it does not.
        """
        if self._serve is None:
            return
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = (self.url or "http://127.0.0.1:{port}/mcp").replace("{port}", str(port))
        quiet = asyncio.subprocess.DEVNULL
        command = self._serve.replace("{port}", str(port))
        self._process = await asyncio.create_subprocess_shell(
            f"exec {command}", stdin=quiet, stdout=quiet, stderr=quiet
        )
        deadline = asyncio.get_running_loop().time() + _STARTS_WITHIN
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError as error:
                if self._process.returncode is not None or asyncio.get_running_loop().time() > deadline:
                    raise Broken(f"{command!r} does not listen on port {port}") from error
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return

    async def open(self, trial: Trial, *, own: bool, options: dict[str, Any]) -> Conversation:
        """Return a conversation: a shared one over stdio unless `own` or special options are asked for."""
        if trial.transport == "http":
            return await self._open_http(trial, options)
        if own or options:
            return await self._open_pipe(trial, options)
        shared = self._shared.get(trial.revision.name)
        if shared is None or shared.is_closed:
            self._shared[trial.revision.name] = shared = await self._open_pipe(trial, options)
            return shared
        await _quiet(shared)
        monitor = trial.monitor()
        if isinstance(shared.monitor, ServerMonitor):
            monitor.adopt(shared.monitor)
        shared.monitor = monitor
        shared.transcript = shared.wire.transcript = trial.transcript
        shared.timeout = trial.timeout
        shared.inbox.clear()
        shared.answers.clear()
        return shared

    def make_wire(self, transcript: Transcript) -> PipeWire:
        """Return a wire to a child, not yet started."""
        return PipeWire(self.command or "", transcript, self.tap)

    async def _open_pipe(self, trial: Trial, options: dict[str, Any]) -> PipeConversation:
        wire = self.make_wire(trial.transcript)
        await wire.open()
        made = PipeConversation(wire, trial.revision, trial.monitor(), trial.transcript, trial.timeout)
        await _begin(made, options)
        return made

    async def _open_http(self, trial: Trial, options: dict[str, Any]) -> HttpConversation:
        if self.url is None:
            raise NotSpoken("no URL was given")
        wire = HttpWire(self.url, self.tap, self.tokens.good)
        made = HttpConversation(wire, trial.revision, trial.monitor(), trial.transcript, trial.timeout)
        await _begin(made, options)
        return made

    async def release(self, conversation: Conversation, *, is_sound: bool) -> None:
        """Take a conversation back: end it, unless others use it too."""
        is_shared = self._shared.get(conversation.revision.name) is conversation
        if is_shared and is_sound and not conversation.is_closed:
            return
        if is_shared:
            del self._shared[conversation.revision.name]
        await conversation.close()

    async def _contact(self, revision: Revision, transport: str, timeout: float) -> Conversation:
        transcript = Transcript()
        monitor = ServerMonitor(lambda rule, is_kept, detail, line=None: is_kept)
        if transport == "http":
            return HttpConversation(
                HttpWire(self.url or "", self.tap, self.tokens.good), revision, monitor, transcript, timeout
            )
        wire = self.make_wire(transcript)
        await wire.open()
        made = PipeConversation(wire, revision, monitor, transcript, timeout)
        made.patience = timeout
        return made

    async def speaks(self, revision: Revision, transport: str, timeout: float) -> str | None:
        """Say why the target does not speak a revision; `None` if it does."""
        made = await self._contact(revision, transport, timeout)
        try:
            await made.open()
        except NotSpoken as reason:
            self.is_locked = self.is_locked or isinstance(reason, Locked)
            return str(reason)
        finally:
            if made.has_spoken:
                self.spoken.add((revision.name, transport))
            await made.close()
        return None

    async def fixtures(
        self, given: Fixtures, revision: Revision, transport: str, timeout: float
    ) -> tuple[Fixtures, list[str]]:
        """Return the fixtures that the target lists, and the names of those it does not."""
        made = await self._contact(revision, transport, timeout)
        names: dict[str, set[str]] = {}
        templates: set[str] = set()
        try:
            await made.open()
            for method, kind, key in _LISTS:
                found = await _names(made, method, kind, key)
                if found is not None and kind == "resourceTemplates":
                    templates = found
                elif found is not None:
                    names[kind] = found
        except (NotSpoken, NoAnswer, Broken):
            return given, []
        finally:
            await made.close()
        return given.there(names, templates)

    async def close(self) -> None:
        """End what was started."""
        for shared in self._shared.values():
            await shared.close()
        self._shared.clear()
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), 3)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()


async def _names(talk: Conversation, method: str, kind: str, key: str) -> set[str] | None:
    """Return the names of every page of a list; `None` if it cannot be had."""
    found: set[str] = set()
    params: dict[str, Any] = {}
    for _ in range(100):
        result = (await talk.request(method, params)).result
        entries = result.get(kind) if result else None
        if result is None or not isinstance(entries, list):
            return None
        found |= {str(each.get(key)) for each in entries if isinstance(each, dict)}
        if not isinstance(result.get("nextCursor"), str):
            break
        params = {"cursor": result["nextCursor"]}
    return found


async def _begin(made: Conversation, options: dict[str, Any]) -> None:
    made.capabilities = dict(options.get("capabilities", FULL))
    if not options.get("handshake", True):
        return
    try:
        await made.open(initialized=options.get("initialized", True))
    except BaseException:
        await made.close()
        raise


async def _quiet(shared: Conversation) -> None:
    """Let what the last scenario still has under way end."""
    for pending in list(shared.pending.values()):
        await asyncio.wait([pending.reply], timeout=0.5)
