"""The spans of a client's calls: one for each, whose context travels in the call's `_meta`."""

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import anyio
from msgspec import Struct

from ..errors import MCPError, RequestTimeoutError
from ..telemetry import Outcome, Tracing
from .config import ClientConfig

if TYPE_CHECKING:
    from .session import CallOptions
    from .session import Outcome as CallOutcome

__all__ = ["CallTracer"]

_TARGETS: Final = {
    "tools/call": ("tool", "name"),
    "prompts/get": ("prompt", "name"),
    "resources/read": ("resource", "uri"),
    "resources/subscribe": ("resource", "uri"),
    "resources/unsubscribe": ("resource", "uri"),
}
"""The kind of thing that a method is for, and the member of its params that names it."""


class CallTracer:
    """Makes a span of each call to one server.

    Args:
        tracing: what makes them.
        config: of the server.
    """

    def __init__(self, tracing: Tracing, config: ClientConfig) -> None:
        self._tracing = tracing
        self._transport = config.transport
        self._address = self._port = None
        self._born: float | None = time.monotonic()
        if config.is_networked:
            location = config.location
            self._address, self._port = location.host, location.port

    def closed(self, revision: str | None) -> None:
        """Measure the session, whose end this is; the first time it is told."""
        born, self._born = self._born, None
        if born is not None:
            self._tracing.session_ended(
                time.monotonic() - born, is_client=True, revision=revision, transport=self._transport
            )

    async def trace(
        self,
        make: "Callable[[str, Struct | None, CallOptions], Awaitable[CallOutcome]]",
        method: str,
        params: Struct | None,
        options: "CallOptions",
        revision: str | None,
    ) -> "CallOutcome":
        """Make a call within a span.

        Args:
            make: makes it.
            method, params, options: what it takes; `options` get the span's context.
            revision: of the protocol.
        """
        kind, member = _TARGETS.get(method, (None, ""))
        name: Any = getattr(params, member, None) if kind is not None else None
        span = self._tracing.begin_call(
            method, kind, name, revision=revision, transport=self._transport, address=self._address, port=self._port
        )
        options.meta = {**(options.meta or {}), **span.meta}
        try:
            outcome = await make(method, params, options)
        except MCPError as error:
            span.end(Outcome.TIMEOUT if isinstance(error, RequestTimeoutError) else Outcome.ERROR, error)
            raise
        except anyio.get_cancelled_exc_class():
            span.end(Outcome.CANCELLED)
            raise
        if outcome.call is not None:
            span.sent(outcome.call.id)
        span.answered(outcome.raw)
        return outcome
