"""The calls of one client: over its live session, within their times, again where its strategy says so, and counted."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Raw, Struct

from protocol.types import LoggingLevel

from .config import ClientConfig
from .retrying import RetryableOperation
from .session import CallOptions, ClientSession, Outcome, ProgressHandler

if TYPE_CHECKING:
    from .metrics import ClientMetrics

__all__ = ["Calls"]

_SAFE = frozenset(
    {
        "completion/complete", "logging/setLevel", "ping", "prompts/get", "prompts/list", "resources/list",
        "resources/read", "resources/templates/list", "server/discover", "tasks/get", "tasks/list", "tools/list",
    }
)  # fmt: skip
"""The methods that may be called twice; of those of extensions nothing is known."""


class Calls:
    """Makes the calls of one client.

    Args:
        connect: returns the live session, connecting if there is none.
        config: the time-outs that count where a call has none of its own.
        operation: makes calls again; `None`: nobody does.
        metrics: count them; `None`: nobody does.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[ClientSession]],
        config: ClientConfig | None,
        *,
        operation: RetryableOperation | None,
        metrics: "ClientMetrics | None",
        log_level: LoggingLevel | None,
    ) -> None:
        self.connect = connect
        self.session: ClientSession | None = None
        """The session, while there is one."""
        self.operation = operation
        self.metrics = metrics
        self.log_level = log_level
        self._timeout = None if config is None else config.timeout
        self._total_timeout = None if config is None else config.total_timeout

    def total_timeout(self, given: float | None) -> float | None:
        """Return how many seconds a call may take at all."""
        return self._total_timeout if given is None else given

    async def outcome(
        self,
        method: str,
        params: Struct | None,
        *,
        timeout: float | None = None,
        total_timeout: float | None = None,
        on_progress: ProgressHandler | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Outcome:
        """Make a call, once."""
        session = self.session
        if session is None or session.is_closed:
            session = await self.connect()
        options = CallOptions(
            timeout=self._timeout if timeout is None else timeout,
            total_timeout=self._total_timeout if total_timeout is None else total_timeout,
            on_progress=on_progress,
            meta=None if meta is None else dict(meta),
            log_level=self.log_level,
        )
        return await session.call(method, params, options)

    async def read(
        self, method: str, params: Struct | None, *, name: str | None = None, timeout: float | None = None
    ) -> tuple[Raw, bool]:
        """Make a call; returns its result, and whether that may be kept."""
        if self.metrics is None:
            outcome = await self._read(method, params, timeout)
        else:
            with self.metrics.watch(method, name):
                outcome = await self._read(method, params, timeout)
        return outcome.raw, not outcome.was_interrupted

    async def _read(self, method: str, params: Struct | None, timeout: float | None) -> Outcome:
        if self.operation is None:
            return await self.outcome(method, params, timeout=timeout)

        def attempt(elapsed: float) -> Awaitable[Outcome]:
            each, whole = self.remaining(elapsed, timeout, None, is_followed=False)
            return self.outcome(method, params, timeout=each, total_timeout=whole)

        patience = self.patience(timeout, None, is_followed=False)
        return await self.operation.run(attempt, is_safe=method in _SAFE, patience=patience)

    def patience(self, timeout: float | None, total_timeout: float | None, *, is_followed: bool) -> float | None:
        """Return the seconds after which a call is not made again.

        Args:
            timeout, total_timeout: those of the call, `None` for the client's.
            is_followed: its progress is heard, so that only the whole is bounded.
        """
        whole = self._total_timeout if total_timeout is None else total_timeout
        each = self._timeout if timeout is None else timeout
        return whole if is_followed or each is None else each if whole is None else min(each, whole)

    def remaining(
        self, elapsed: float, timeout: float | None, total_timeout: float | None, *, is_followed: bool
    ) -> tuple[float | None, float | None]:
        """Return the time-outs of an attempt that begins so many seconds after the first; the first has the call's."""
        if not elapsed:
            return timeout, total_timeout
        whole = self._total_timeout if total_timeout is None else total_timeout
        each = self._timeout if timeout is None else timeout
        return _left(each, 0.0 if is_followed else elapsed), _left(whole, elapsed)


def _left(seconds: float | None, elapsed: float) -> float | None:
    return None if seconds is None else max(0.001, seconds - elapsed)
