"""Spans of requests, as pipelines and clients see them: what makes them is an extra, and off unless asked for."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from protocol.events import Request

from .metrics import Outcome

__all__ = ["ClientSpan", "Span", "Tracing", "open_tracing"]


class Span(Protocol):
    """A request that is being handled. It is ended once, whatever comes of it; a second end is none."""

    def activate(self) -> Any:
        """Make this the current span of the task or thread; returns what `deactivate` takes."""

    def deactivate(self, token: Any) -> None:
        """Make current again what was before; not needed where the task ends with the request."""

    def active(self) -> AbstractContextManager[None]:
        """Make this the current span within the context."""

    def end(self, outcome: Outcome, error: Any = None) -> None:
        """End the span and measure the request.

        Args:
            outcome: what came of it.
            error: an `MCPError` or an `ErrorObject` that was answered; `None` or a text for a result that is an error.
        """


class ClientSpan(Span, Protocol):
    """A request that is sent."""

    @property
    def meta(self) -> dict[str, str]:
        """What goes along in the request's `_meta`, so that the server's span is a child of this one."""

    def sent(self, request_id: Any) -> None:
        """Note the request's id."""

    def answered(self, raw: Any) -> None:
        """End the span of a request that was answered with a result, which may say that it is an error."""


class Tracing(Protocol):
    """Makes the spans and measures the durations of one server or one client."""

    def begin(
        self,
        method: str,
        kind: str | None = None,
        name: str | None = None,
        meta: Any = None,
        *,
        request_id: Any = None,
        revision: str | None = None,
        session_id: str | None = None,
        transport: str | None = None,
    ) -> Span:
        """Begin the span of a request that arrived, as a child of its sender's.

        Args:
            method: of the request.
            kind, name: of the entry it is for: `tool`, `prompt` or `resource`, whose name is its URI.
            meta: the request's `_meta`.
            request_id: the request's id.
            revision: of the protocol.
            session_id: of the HTTP session.
            transport: `stdio`, `http`, `sse`, `websocket` or `memory`.
        """

    def begin_request(self, request: Request, kind: str, name: str, transport: str | None) -> Span:
        """Begin the span of a request for an entry, whose kind and name these are."""

    def note(self, request: Request, transport: str, began: int, outcome: Outcome, error: Any = None) -> None:
        """Make the span of a request that is over, and was for no entry.

        Args:
            request: the request.
            transport: how it came.
            began: when, in nanoseconds since 1970.
            outcome, error: as `Span.end` takes them.
        """

    def begin_call(
        self,
        method: str,
        kind: str | None = None,
        name: str | None = None,
        *,
        revision: str | None = None,
        session_id: str | None = None,
        transport: str | None = None,
        address: str | None = None,
        port: int | None = None,
    ) -> ClientSpan:
        """Begin the span of a request that is about to be sent.

        Args:
            method: of the request.
            kind, name: of the tool, prompt or resource it is for.
            revision: of the protocol.
            session_id: of the HTTP session.
            transport: how it is sent.
            address, port: of the server.
        """

    def session_ended(
        self, seconds: float, *, is_client: bool = False, revision: str | None = None, transport: str | None = None
    ) -> None:
        """Measure a session that has ended.

        Args:
            seconds: how long it lasted.
            is_client: it was the client's.
            revision: of the protocol.
            transport: of the session.
        """


_OPTIONS = ("tracer_provider", "meter_provider")


def open_tracing(given: "bool | Tracing | Mapping[str, Any] | None") -> Tracing | None:
    """Return what makes spans, `None` where none are wanted.

    Args:
        given: `True`, to trace with what the program has set up for OpenTelemetry; a mapping of `tracer_provider` and
            `meter_provider`; or a `Tracing`.

    Raises:
        ImportError: the extra `otel` is not installed.
        TypeError: anything else is given.
    """
    if given is None or given is False:
        return None
    if given is True or isinstance(given, Mapping):
        from .otel import OpenTelemetry  # the extra `otel`

        options = {} if given is True else dict(given)
        unknown = options.keys() - set(_OPTIONS)
        if unknown:
            raise TypeError(f"unknown key {', '.join(sorted(unknown))} in tracing; known: {', '.join(_OPTIONS)}")
        return OpenTelemetry(**options)
    if hasattr(given, "begin_request") and hasattr(given, "begin_call"):
        return given
    raise TypeError(f"tracing is True, a mapping of {' and '.join(_OPTIONS)}, or a Tracing, not {given!r}")
