"""What tools, resources and prompts share: a function, how it is run, and how its value becomes a result."""

import inspect
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

from protocol.events import Request

from ..errors import MCPErrorCode, RequestError
from ..schema import Arguments, derive_arguments
from .context import Context
from .options import EntryPolicy
from .streaming import gathering, is_streaming

if TYPE_CHECKING:
    from .pipeline import Pipeline

__all__ = ["Entry", "Mode", "bare_or_called", "name_of", "positive"]


UNGUARDED = EntryPolicy()


class Mode(Enum):
    """Where a handler runs; settled at registration."""

    INLINE = "inline"
    """In the read loop: declared `blocking=False`."""
    TASK = "task"
    """A coroutine in a task of its own."""
    THREAD = "thread"
    """A plain function in a worker thread."""


class Entry:
    """One registered function.

    Args:
        fn: a plain function, a coroutine function, one that yields parts of its value, or a callable object.
        blocking: a plain function may block, so it runs in a thread; `False` runs it in the read loop.
        timeout: seconds until the request fails; `None` for the server's default.
        policy: what guards it.
    """

    kind = "handler"

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        blocking: bool | None,
        timeout: float | None,
        policy: EntryPolicy = UNGUARDED,
    ) -> None:
        call = fn if inspect.isroutine(fn) or inspect.isclass(fn) else getattr(fn, "__call__", fn)  # noqa: B004
        streams = is_streaming(fn) or is_streaming(call)
        self._run = gathering(fn) if streams else fn
        is_async = any(map(inspect.iscoroutinefunction, (fn, call, self._run)))
        if is_async and blocking:
            raise TypeError(f"{name_of(fn)} is a coroutine function; blocking=True is for plain functions")
        self.fn = fn
        self.mode = Mode.TASK if is_async else Mode.INLINE if blocking is False else Mode.THREAD
        self.timeout = positive("timeout", timeout)
        self.policy = policy
        self.pipeline: Pipeline | None = None
        """What its calls pass; composed by the server that it is registered at."""
        self.arguments: Arguments = derive_arguments(fn, skip=(Context,))
        self.is_enabled = True
        self.serial = 0
        """Place in the order of registration; pages are cut by it."""
        injected = self.arguments.injected
        self._context_name = next((name for name, type_ in injected.items() if type_ is Context), None)
        self._token_name = next((name for name, type_ in injected.items() if type_ is not Context), None)
        self.wants_context = bool(injected)
        self.is_direct = self.mode is Mode.INLINE and not injected
        """Nothing but the function has a part in its calls; settled by whoever composes the pipeline."""

    @property
    def name(self) -> str:
        """The name it is known by."""
        raise KeyError(name_of(self.fn))

    @property
    def required_permissions(self) -> frozenset[str]:
        """What a caller must be allowed."""
        return self.policy.required_permissions

    def spelled_arguments(self, request: Request) -> bytes | None:
        """Return the text in which the arguments came, if they came as one."""
        return None

    def named_arguments(self, request: Request) -> Mapping[str, Any]:
        """Return what tells a request from others of the same entry.

        Raises:
            ArgumentError: it cannot be read.
        """
        return {}

    def bind(self, request: Request) -> dict[str, Any]:
        """Return the arguments of the call.

        Raises:
            ArgumentError: they do not fit.
            RequestError: they do not fit, and the request ends in an error.
        """
        return {}

    def call(self, kwargs: dict[str, Any], context: Context | None) -> Any:
        """Call the function; a coroutine function gives its coroutine."""
        if context is not None:
            if self._context_name is not None:
                kwargs[self._context_name] = context
            if self._token_name is not None:
                token = context.request.progress_token
                kwargs[self._token_name] = token if isinstance(token, int | str) else None
        return self._run(**kwargs)

    def finish(self, value: Any, request: Request) -> Any:
        """Turn the returned value into the method's result."""
        raise RequestError(f"{self.kind} has no result", error_code=MCPErrorCode.INTERNAL_ERROR)


def name_of(fn: Any) -> str:
    """Return what to call a function in messages."""
    return getattr(fn, "__name__", type(fn).__name__)


def positive(name: str, value: float | None) -> float | None:
    """Return an option that must be above zero, or absent."""
    if value is not None and not value > 0:
        raise ValueError(f"{name} must be above zero, not {value!r}")
    return value


def bare_or_called(fn: Any, register: Callable[[Callable[..., Any]], None]) -> Any:
    """Let a decorator be used with and without parentheses; either way the function itself comes back."""

    def decorate(function: Any) -> Any:
        register(function)
        return function

    return decorate if fn is None else decorate(fn)


def merged(*parts: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Merge mappings; `None` when all are absent or empty."""
    whole: dict[str, Any] = {}
    for part in parts:
        whole.update(part or {})
    return whole or None
