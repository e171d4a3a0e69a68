"""What decorators and `*_config` dictionaries may say: each name once, with its aliases; anything else is an error."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from msgspec import Struct

from protocol.types import Annotations, Icon, ToolAnnotations

from ..resilience import BreakerRule, Rate

__all__ = [
    "FIELD",
    "BreakerConfig",
    "CacheConfig",
    "EntryPolicy",
    "PromptOptions",
    "RateLimit",
    "ResourceOptions",
    "ToolOptions",
    "read_breaker_config",
    "read_cache_config",
    "read_rate_limit",
    "split_options",
]


class PolicyOptions(TypedDict, total=False):
    """What guards any entry: tool, resource or prompt."""

    required_permission: str | None
    """The caller must have it."""
    required_permissions: Iterable[str]
    """The caller must have all of them."""
    rate_limit: "float | Mapping[str, Any] | RateLimit | None"
    """Calls a minute, or a mapping as for `rate_limit_config`."""
    enable_circuit_breaker: "bool | Mapping[str, Any] | None"
    """Put it under a circuit breaker, or not, whatever the server says; or a mapping: see `read_breaker_config`."""
    max_concurrency: int | None
    """Calls at once; as many as the server's `max_queued` wait, others are refused."""
    cache_key: str | None
    """What clears kept results: a name, or a template of arguments (`"weather:{city}"`), which are then all the key."""
    cache_ttl: float | None
    """Seconds results are kept."""
    cache_scope: Literal["private", "public"]
    """`public`: callers share results; default each has his own."""


class ToolOptions(PolicyOptions, total=False):
    """What `@server.tool` may be told."""

    name: str | None
    title: str | None
    description: str | None
    annotations: ToolAnnotations | Mapping[str, Any] | None
    icons: Sequence[Icon] | None
    meta: Mapping[str, Any] | None
    timeout: float | None
    """Seconds."""
    blocking: bool | None
    """`False` runs a plain function in the read loop instead of a thread."""
    input_schema: Mapping[str, Any] | None
    """Shown and checked instead of what the signature says."""
    output_schema: Mapping[str, Any] | bool | None
    """A schema, or `False` for none."""
    format_response: "str | Callable[[Any], Any] | None"
    """How the value becomes text: the name of a formatter, or a function."""
    task: str | None
    """`"optional"` or `"required"`: runs as a task."""
    task_ttl: float | None
    """Seconds a task is kept, running or ended; `None` for as long as the server."""
    task_poll_interval: float | None
    """Seconds between polls."""
    task_asks_first: bool
    """It is an ordinary call, with questions, until it awaits `ctx.start_task()`."""


class ResourceOptions(PolicyOptions, total=False):
    """What `@server.resource` may be told besides the URI."""

    name: str | None
    title: str | None
    description: str | None
    mime_type: str | None
    size: int | None
    annotations: Annotations | None
    icons: Sequence[Icon] | None
    meta: Mapping[str, Any] | None
    timeout: float | None
    blocking: bool | None


class PromptOptions(PolicyOptions, total=False):
    """What `@server.prompt` may be told."""

    name: str | None
    title: str | None
    description: str | None
    icons: Sequence[Icon] | None
    meta: Mapping[str, Any] | None
    timeout: float | None
    blocking: bool | None


_POLICY = frozenset(PolicyOptions.__annotations__)


class RateLimit(Struct, frozen=True, kw_only=True):
    """A rate, and whose bucket it fills."""

    rate: Rate
    is_each: bool = False
    """Every caller has a bucket of his own."""


class BreakerConfig(Struct, frozen=True, kw_only=True):
    """When a breaker opens, and what it counts."""

    rule: BreakerRule = BreakerRule()
    is_failure: Callable[[BaseException], bool] | None = None
    """Tells failures from errors that say nothing about the tool; bad input never counts."""


class CacheConfig(Struct, frozen=True, kw_only=True):
    """How much is kept in this process."""

    max_entries: int = 1024
    max_bytes: int = 64 << 20
    max_ttl: float = 3600.0
    on_store_error: Literal["open", "closed"] = "open"


class EntryPolicy(Struct, frozen=True, kw_only=True):
    """What guards one entry."""

    required_permissions: frozenset[str] = frozenset()
    rate_limit: RateLimit | None = None
    breaker: BreakerConfig | bool | None = None
    """`None`: as the server says."""
    max_concurrency: int | None = None
    cache_key: str | None = None
    cache_ttl: float | None = None
    is_shared: bool = False
    """Kept results are for every caller."""

    @property
    def cache_arguments(self) -> tuple[str, ...]:
        """The arguments that the template of `cache_key` names."""
        return tuple(FIELD.findall(self.cache_key or ""))


FIELD = re.compile(r"\{([A-Za-z_]\w*)\}")
"""An argument's place in the template of a `cache_key`."""


def split_options(options: Mapping[str, Any], known: Any, what: str) -> tuple[EntryPolicy, dict[str, Any]]:
    """Return the policy that decorator options spell, and the rest of them.

    Raises:
        TypeError: an option that is not known, or two that do not go together.
        ValueError: one with a value out of range.
    """
    unknown = options.keys() - known.__annotations__.keys()
    if unknown:
        raise TypeError(f"unknown {what} option {_listed(unknown)}; known: {_listed(known.__annotations__)}")
    rest = {name: value for name, value in options.items() if name not in _POLICY}
    given = {name: value for name, value in options.items() if name in _POLICY}
    if not given:
        return _OPEN, rest
    if given.get("cache_key") is not None and given.get("cache_ttl") is None:
        raise TypeError("cache_key names a cache; say how long results live with cache_ttl (seconds)")
    if given.get("cache_scope", "private") not in ("private", "public"):
        raise ValueError(f"cache_scope is private or public, not {given['cache_scope']!r}")
    required = set(given.get("required_permissions") or ())
    if isinstance(given.get("required_permissions"), str):
        raise TypeError("required_permissions is a list of names; for one name there is required_permission")
    if given.get("required_permission") is not None:
        required.add(given["required_permission"])
    breaker = given.get("enable_circuit_breaker")
    return (
        EntryPolicy(
            required_permissions=frozenset(required),
            rate_limit=read_rate_limit("rate_limit", given.get("rate_limit")),
            breaker=breaker if breaker is None or isinstance(breaker, bool) else read_breaker_config(breaker),
            max_concurrency=_count("max_concurrency", given.get("max_concurrency")),
            cache_key=given.get("cache_key"),
            cache_ttl=_positive("cache_ttl", given.get("cache_ttl")),
            is_shared=given.get("cache_scope") == "public",
        ),
        rest,
    )


_OPEN = EntryPolicy()


def _read(what: str, given: Mapping[str, Any], names: Iterable[str], aliases: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    names = list(names)
    unknown = given.keys() - set(names) - aliases.keys()
    if unknown:
        raise TypeError(f"unknown key {_listed(unknown)} in {what}; known: {_listed([*names, *aliases])}")
    for key, value in given.items():
        name = aliases.get(key, key)
        if name in found:
            raise TypeError(f"{what} says {name} twice: {key} is another word for it")
        found[name] = value
    return found


_RATE_KEYS = ("requests_per_minute", "requests", "window", "burst_size", "per_user")
_RATE_ALIASES = {"default_limit": "requests_per_minute", "burst_limit": "burst_size", "per_client": "per_user"}


def read_rate_limit(what: str, given: Any) -> RateLimit | None:
    """Read a rate limit: calls a minute, or a mapping of `requests_per_minute`, or `requests` and `window` (seconds).

    `burst_size` is how many may come at once (default: a whole window's), `per_user` gives each caller his own bucket.

    Raises:
        TypeError: an unknown key, or a value of the wrong type.
        ValueError: a value out of range.
    """
    if given is None or isinstance(given, RateLimit):
        return given
    if isinstance(given, Rate):
        return RateLimit(rate=given)
    if isinstance(given, int | float) and not isinstance(given, bool):
        given = {"requests_per_minute": given}
    if not isinstance(given, Mapping):
        raise TypeError(f"{what} is a number of calls a minute or a mapping, not {type(given).__name__}")
    found = _read(what, given, _RATE_KEYS, _RATE_ALIASES)
    if "requests_per_minute" in found:
        if "requests" in found or "window" in found:
            raise TypeError(f"{what}: give requests_per_minute, or requests and window (seconds)")
        requests, window = found["requests_per_minute"], 60.0
    elif "requests" in found:
        requests, window = found["requests"], found.get("window", 60.0)
    else:
        raise TypeError(f"{what} needs requests_per_minute, or requests and window (seconds)")
    burst = found.get("burst_size")
    for name, value in (("requests", requests), ("window", window)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{what}: {name} is a number, not {value!r}")
    rate = Rate(requests=requests, window=window, burst=_count(f"{what}: burst_size", burst))
    return RateLimit(rate=rate, is_each=_flag(f"{what}: per_user", found.get("per_user", False)))


_BREAKER_KEYS = ("failure_threshold", "timeout", "success_threshold", "is_failure")
_BREAKER_ALIASES = {"recovery_timeout": "timeout"}


def read_breaker_config(given: Mapping[str, Any] | BreakerConfig | BreakerRule | None) -> BreakerConfig | None:
    """Read `failure_threshold`, `timeout` (seconds), `success_threshold` and `is_failure` (takes the error).

    Raises:
        TypeError: an unknown key, or a value of the wrong type.
        ValueError: a value out of range.
    """
    if given is None or isinstance(given, BreakerConfig):
        return given
    if isinstance(given, BreakerRule):
        return BreakerConfig(rule=given)
    found = _read("circuit_breaker_config", _mapping("circuit_breaker_config", given), _BREAKER_KEYS, _BREAKER_ALIASES)
    is_failure = found.pop("is_failure", None)
    if is_failure is not None and not callable(is_failure):
        raise TypeError("circuit_breaker_config: is_failure is a function that takes the error")
    for name in ("failure_threshold", "success_threshold"):
        _count(f"circuit_breaker_config: {name}", found.get(name))
    return BreakerConfig(rule=BreakerRule(**found), is_failure=is_failure)


def read_cache_config(given: Mapping[str, Any] | CacheConfig | None) -> CacheConfig:
    """Read `max_entries`, `max_bytes`, `max_ttl` (seconds) and `on_store_error`.

    Raises:
        TypeError: an unknown key, or a value of the wrong type.
        ValueError: a value out of range.
    """
    if given is None:
        return CacheConfig()
    if isinstance(given, CacheConfig):
        return given
    found = _read("cache_config", _mapping("cache_config", given), CacheConfig.__struct_fields__, {})
    for name in ("max_entries", "max_bytes"):
        _count(f"cache_config: {name}", found.get(name))
    _positive("cache_config: max_ttl", found.get("max_ttl"))
    if found.get("on_store_error", "open") not in ("open", "closed"):
        raise ValueError(f"cache_config: on_store_error is open or closed, not {found['on_store_error']!r}")
    return CacheConfig(**found)


def _mapping(what: str, given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise TypeError(f"{what} is a mapping, not {type(given).__name__}")
    return given


def _flag(what: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{what} is True or False, not {value!r}")
    return value


def _count(what: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} is a whole number, not {value!r}")
    if value < 1:
        raise ValueError(f"{what} must be 1 or more, not {value}")
    return value


def _positive(what: str, value: Any) -> float | None:
    if value is not None and not value > 0:
        raise ValueError(f"{what} must be above zero, not {value!r}")
    return value  # type: ignore[no-any-return]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
