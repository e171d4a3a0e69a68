"""Targets: a server that is started as a child, one that is reached by its URL, or one that is started to serve one."""

import asyncio
import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from .conversations import HttpConversation, PipeConversation, SseConversation, WebSocketConversation
from .dialect import FULL, Conversation, Locked, NoAnswer, NotSpoken
from .fixture import Fixtures
from .monitor import ServerMonitor
from .requirements import Revision, revisions
from .scenario import Skip, Trial
from .tokens import Tokens
from .wire import Broken, HttpWire, PipeWire, Tap, Transcript
from .wire_ws import WebSocketWire

__all__ = ["ServerTarget", "address"]

_STARTS_WITHIN = 20.0
_NO_METHOD = -32601
_LISTS = (
    ("tools/list", "tools", "name"),
    ("prompts/list", "prompts", "name"),
    ("resources/list", "resources", "uri"),
    ("resources/templates/list", "resourceTemplates", "uriTemplate"),
)


_SCHEMES = {"http": "http", "https": "http", "ws": "websocket", "wss": "websocket"}
_NAMED = ("http", "sse", "websocket")


def address(text: str) -> tuple[str, str]:
    """Return the transport and the URL that a text names.

    `sse=URL`, `http=URL` and `websocket=URL` say it; otherwise the scheme does, and a path that ends in `/sse`.

    Raises:
        ValueError: it is no URL of a transport.
    """
    name, mark, rest = text.partition("=")
    if mark and name in _NAMED:
        return name, rest
    parts = urlsplit(text)
    transport = _SCHEMES.get(parts.scheme)
    if transport is None:
        raise ValueError(f"{text!r} is no URL of a server: write http://, https://, ws:// or wss://, or sse=URL")
    return ("sse" if transport == "http" and parts.path.endswith("/sse") else transport), text


class ServerTarget:
    """A server under test.

    Args:
        command: starts it on its standard streams.
        url: where it serves, once for each transport; see `address`.
        serve: starts it to serve; `{port}` stands for the port, also in each URL.
        tap: stands on the wire; see `wire.Tap`.
        tokens: what it demands over HTTP, if it does.

    Raises:
        ValueError: an address that is none, or two for one transport.
    """

    def __init__(
        self,
        *,
        command: str | None = None,
        url: str | Sequence[str] | None = None,
        serve: str | None = None,
        tap: Tap | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        self.command = command
        self.urls: dict[str, str] = {}
        """Where it serves, by transport."""
        for text in (url,) if isinstance(url, str) else url or ():
            transport, found = address(text)
            if transport in self.urls:
                raise ValueError(f"two addresses for {transport}: {self.urls[transport]} and {found}")
            self.urls[transport] = found
        if serve and not self.urls:
            self.urls["http"] = "http://127.0.0.1:{port}/mcp"
        self._serve = serve
        self._templates = dict(self.urls)
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
        return (*(("stdio",) if self.command else ()), *(name for name in _NAMED if name in self.urls))

    @property
    def url(self) -> str | None:
        """Where it serves Streamable HTTP."""
        return self.urls.get("http")

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
        self.urls = {name: each.replace("{port}", str(port)) for name, each in self._templates.items()}
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

    async def twin(self) -> "ServerTarget":
        """Start another server of the same make, which may be ended.

        Raises:
            Skip: the target is not started by the judge.
        """
        if self._serve is None:
            raise Skip("the target is not started by the judge, which cannot end it either")
        other = ServerTarget(serve=self._serve, tap=self.tap, tokens=self.tokens)
        other._templates = dict(self._templates)
        await other.start()
        return other

    async def terminate(self, patience: float = 5.0) -> int | None:
        """Tell what was started to stop, and return its exit status; `None`: it still runs."""
        process = self._process
        if process is None:
            return None
        if process.returncode is None:
            process.terminate()
        try:
            return await asyncio.wait_for(process.wait(), patience)
        except TimeoutError:
            return None

    async def open(self, trial: Trial, *, own: bool, options: dict[str, Any]) -> Conversation:
        """Return a conversation: a shared one over stdio unless `own` or special options are asked for."""
        if trial.transport != "stdio" or own or options:
            return await self._open(trial, options)
        shared = self._shared.get(trial.revision.name)
        if shared is None or shared.is_closed:
            made = await self._open(trial, options)
            assert isinstance(made, PipeConversation)
            self._shared[trial.revision.name] = made
            return made
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

    async def _open(self, trial: Trial, options: dict[str, Any]) -> Conversation:
        made = await self._make(trial.transport, trial.revision, trial.monitor(), trial.transcript, trial.timeout)
        await _begin(made, options)
        return made

    async def _make(
        self, transport: str, revision: Revision, monitor: ServerMonitor, transcript: Transcript, timeout: float
    ) -> Conversation:
        """Return a conversation in which nothing was said yet."""
        rest = (revision, monitor, transcript, timeout)
        if transport == "stdio":
            wire = self.make_wire(transcript)
            await wire.open()
            return PipeConversation(wire, *rest)
        url = self.urls.get(transport)
        if url is None:
            raise NotSpoken(f"no URL was given for {transport}")
        if transport == "websocket":
            far = WebSocketWire(url, transcript, self.tap)
            token = [] if self.tokens.good is None else [("Authorization", f"Bearer {self.tokens.good}")]
            status = await asyncio.wait_for(far.open(headers=token), max(timeout, _STARTS_WITHIN))
            if status != 101:
                raise Broken(f"{url} does not open a WebSocket: it answers {status}")
            return WebSocketConversation(far, *rest)
        if transport == "http":
            return HttpConversation(HttpWire(url, self.tap, self.tokens.good), *rest)
        made = SseConversation(HttpWire(url, self.tap, self.tokens.good), *rest)
        if (status := await made.connect()) != 200:
            await made.close()
            raise Broken(f"{url} is no stream of events: it answers {status}")
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
        monitor = ServerMonitor(lambda rule, is_kept, detail, line=None: is_kept)
        made = await self._make(transport, revision, monitor, Transcript(), timeout)
        made.patience = timeout
        return made

    async def speaks(self, revision: Revision, transport: str, timeout: float) -> str | None:
        """Say why the target does not speak a revision; `None` if it does."""
        made = await self._contact(revision, transport, timeout)
        is_refused = False
        try:
            await made.open()
        except NotSpoken as reason:
            self.is_locked = self.is_locked or isinstance(reason, Locked)
            # How a server without envelopes refuses one is its own affair: no rule of that revision binds it.
            answered = [each.message for each in made.inbox if isinstance(each.message, dict)]
            is_refused = revision.is_envelope and not any("result" in message for message in answered)
            return str(reason)
        finally:
            if made.has_spoken and not is_refused:
                self.spoken.add((revision.name, transport))
            await made.close()
        return None

    async def speaks_without_header(self, transport: str, timeout: float) -> bool:
        """Tell whether the target speaks a revision of Streamable HTTP that has no header for its own name."""
        older = [each for each in revisions().values() if not each.version_header and each.batching]
        return any([await self.speaks(each, transport, timeout) is None for each in older])

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
        reply = await talk.request(method, params)
        if reply.code == _NO_METHOD:
            return found  # who has no such list has nothing that would be on it
        result = reply.result
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
