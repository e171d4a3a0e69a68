"""`SyncMCPClient`: the same client for code without an event loop, over one portal thread."""

import threading
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

from anyio.from_thread import BlockingPortal, BlockingPortalProvider

from protocol.results import GetPromptResult
from protocol.types import Completion, Implementation, LoggingLevel, Prompt, Resource, ResourceTemplate, Tool

from .client import MCPClient
from .results import ResourceResult, ToolResult

__all__ = ["SyncMCPClient"]

# One event loop in one thread serves every synchronous client; it ends with the last of them.
_portals = BlockingPortalProvider()


class SyncMCPClient:
    """A client for plain code: `with SyncMCPClient(config) as client: client.call_tool("add", {"a": 1})`.

    Takes what `MCPClient` takes; handlers run in the portal's thread. Safe from several threads.
    """

    def __init__(self, config: Any = None, **options: Any) -> None:
        self.client = MCPClient(config, **options)
        self._portal: BlockingPortal | None = None
        self._lock = threading.Lock()

    def open(self) -> "SyncMCPClient":
        """Connect, if not connected."""
        with self._lock:
            if self._portal is None:
                self._portal = _portals.__enter__()
            try:
                self._portal.call(self.client.open)
            except BaseException:
                self._leave()
                raise
        return self

    def close(self) -> None:
        """Disconnect and leave nothing behind; harmless when not connected."""
        with self._lock:
            if self._portal is not None:
                try:
                    self._portal.call(self.client.aclose)
                finally:
                    self._leave()

    def _leave(self) -> None:
        self._portal = None
        _portals.__exit__(None, None, None)

    def __enter__(self) -> "SyncMCPClient":
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, method: str, *args: Any, **kwargs: Any) -> Any:
        if self._portal is None:
            self.open()
        portal = self._portal
        assert portal is not None

        async def call() -> Any:
            return await getattr(self.client, method)(*args, **kwargs)

        return portal.call(call)

    @property
    def server_info(self) -> Implementation | None:
        """The server's self-reported identity."""
        return self.client.server_info

    @property
    def protocol_version(self) -> str | None:
        """The negotiated revision."""
        return self.client.protocol_version

    def call_tool(self, *target: Any, **options: Any) -> ToolResult:
        """Call a tool; see `MCPClient.call_tool`."""
        result: ToolResult = self._run("call_tool", *target, **options)
        return result

    def call_tools(self, calls: Iterable[Any], **options: Any) -> list[Any]:
        """Call many tools, some at once; see `MCPClient.call_tools`."""
        results: list[Any] = self._run("call_tools", calls, **options)
        return results

    def list_tools(self) -> list[Tool]:
        """Return all tools."""
        tools: list[Tool] = self._run("list_tools")
        return tools

    def list_resources(self) -> list[Resource]:
        """Return all resources."""
        resources: list[Resource] = self._run("list_resources")
        return resources

    def list_resource_templates(self) -> list[ResourceTemplate]:
        """Return all resource templates."""
        templates: list[ResourceTemplate] = self._run("list_resource_templates")
        return templates

    def read_resource(self, uri: str, **options: Any) -> ResourceResult:
        """Return what a resource holds."""
        result: ResourceResult = self._run("read_resource", uri, **options)
        return result

    def list_prompts(self) -> list[Prompt]:
        """Return all prompts."""
        prompts: list[Prompt] = self._run("list_prompts")
        return prompts

    def get_prompt(self, name: str, arguments: Mapping[str, Any] | None = None, **options: Any) -> GetPromptResult:
        """Return a filled-in prompt."""
        result: GetPromptResult = self._run("get_prompt", name, arguments, **options)
        return result

    def complete(self, argument: str, value: str, **options: Any) -> Completion:
        """Return suggestions for an argument."""
        completion: Completion = self._run("complete", argument, value, **options)
        return completion

    def ping(self, **options: Any) -> None:
        """Return when the server has given a sign of life."""
        self._run("ping", **options)

    def health_check(self, **options: Any) -> dict[str, Any]:
        """Ask the server for a sign of life; see `MCPClient.health_check`."""
        health: dict[str, Any] = self._run("health_check", **options)
        return health

    def get_metrics(self) -> dict[str, Any] | None:
        """Return what was counted; `None` unless `enable_metrics`."""
        return self.client.get_metrics()

    def set_log_level(self, level: LoggingLevel) -> None:
        """Ask for log messages from this level on."""
        self._run("set_log_level", level)
