"""Making a call again: the strategies of `resilience.retry` with a clock, dice and sleep."""

import inspect
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio

from ..errors import ConnectionError as MCPConnectionError
from ..errors import MCPError
from ..resilience.retry import RetryStrategy, make_strategy

__all__ = ["RetryableOperation"]

T = TypeVar("T")
Attempt = Callable[[float], Awaitable[T]]


def _no_failure(result: Any) -> MCPError | None:
    return None


class RetryableOperation:
    """Runs functions that may fail, again where that is safe and may help.

    Args:
        strategy: `simple`, `exponential`, `circuit_breaker`, or a `RetryStrategy`.
        max_retries: attempts after the first; default the strategy's.
        timeout: seconds after which no further attempt begins; `None`: no limit.
        is_safe: running the function twice does no more than once. Otherwise it is run again only after errors that
            prove that it was not run.
        clock: tells the time in seconds.
        chance: gives random numbers of 0 to 1.
        sleep: waits for some seconds.
        on_retry: called before each further attempt.
    """

    def __init__(
        self,
        strategy: str | RetryStrategy = "exponential",
        *,
        max_retries: int | None = None,
        timeout: float | None = None,
        is_safe: bool = True,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[Any]] = anyio.sleep,
        on_retry: Callable[[], object] | None = None,
    ) -> None:
        made = make_strategy(strategy, max_retries)
        assert made is not None
        self.strategy = made
        self._timeout = timeout
        self._is_safe = is_safe
        self._clock = clock
        self._chance = chance
        self._sleep = sleep
        self._on_retry = on_retry

    async def execute(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a function, plain or coroutine, with these arguments until it goes well or there is no point.

        Raises:
            CircuitOpenError: it was not called: the circuit is open.
            Exception: what the last attempt raised.
        """

        async def attempt(_: float) -> Any:
            value = fn(*args, **kwargs)
            return await value if inspect.isawaitable(value) else value

        return await self.run(attempt, is_safe=self._is_safe, patience=self._timeout)

    async def run(
        self,
        attempt: Attempt[T],
        *,
        is_safe: bool,
        patience: float | None,
        failure_of: Callable[[T], MCPError | None] = _no_failure,
    ) -> T:
        """Make attempts until one goes well or there is no point.

        Args:
            attempt: makes one; told the seconds that have passed since the first began.
            is_safe: as of the class.
            patience: seconds after which no further attempt begins; `None`: no limit.
            failure_of: finds the error in a result that has one; when no further attempt is made, it is returned.
        """
        strategy, clock = self.strategy, self._clock
        now = began = clock()
        ends_at = None if patience is None else now + patience
        turn = strategy.begin(now)
        number = 0
        while True:
            outcome: T | BaseException
            try:
                result = await attempt(now - began)
                outcome, failure = result, failure_of(result)
            except (MCPError, OSError) as error:
                outcome = error
                # What is not of MCP is the network's.
                failure = error if isinstance(error, MCPError) else MCPConnectionError(str(error))
            except BaseException:
                strategy.abandon(turn)
                raise
            now = clock()
            strategy.end(turn, failure, now)
            if failure is None:
                return _concluded(outcome)
            number += 1
            delay = strategy.next_delay(failure, number, now, self._chance(), is_safe=is_safe)
            # A pause that nothing can follow only makes the caller wait for the same error.
            if delay is None or (ends_at is not None and now + delay >= ends_at):
                return _concluded(outcome)
            await self._sleep(delay)
            now = clock()
            try:
                turn = strategy.begin(now, is_retry=True)
            except MCPError:
                return _concluded(outcome)  # what happened says more than that nothing more is tried
            if self._on_retry is not None:
                self._on_retry()


def _concluded(outcome: T | BaseException) -> T:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
