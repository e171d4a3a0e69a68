"""Compile JSON Schemas that came from outside: bounded, cached, never fetching anything."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec

from .cost import Cost
from .dialect import Check, Problem, build, dialect_of
from .errors import SchemaError
from .walk import subschemas

MAX_DEPTH = 64
"""Schemas within schemas."""
MAX_NESTING = 2 * MAX_DEPTH + 64
"""JSON containers within containers; twice the depth, and room for constants."""
MAX_SUBSCHEMAS = 2_000
MAX_SIZE = 256 * 1024
"""Bytes of the schema as canonical JSON."""
MAX_EXPANSION = 100_000
"""Subschemas with every `$ref` written out, a recursive one once: a few milliseconds per value."""
CACHE_SIZE = 512
MAX_PROBLEMS = 20
"""Problems `check` counts before it says "or more"."""
MAX_MESSAGE = 300


class Validator:
    """Checks values against one compiled schema; shared, immutable, safe in any thread."""

    __slots__ = ("_check",)

    def __init__(self, check: Check) -> None:
        self._check = check

    def iter_errors(self, value: Any) -> Iterator[Problem]:
        """Every problem the engine finds, lazily; drafts 4, 6 and 7 may stop at the first."""
        return self._check(value)

    def check(self, value: Any) -> str | None:
        """Say what is wrong with a value, and where; None when nothing is."""
        problems = list(islice(self._check(value), MAX_PROBLEMS + 1))
        if not problems:
            return None
        first = problems[0]
        text = f"{first.path}: {_shortened(first.message)}"
        more = len(problems) - 1
        if more:
            text += f" (and {more} more)" if more < MAX_PROBLEMS else f" (and {more} or more)"
        return text


_cache: OrderedDict[bytes, Validator] = OrderedDict()
_lock = threading.Lock()


def compile_schema(schema: Mapping[str, Any]) -> Validator:
    """Compile a schema with the validator its `$schema` asks for.

    Raises:
        UnsupportedDialectError: No validator here implements the dialect.
        SchemaError: The schema is malformed, too large, or refers to something outside itself.
    """
    if not isinstance(schema, Mapping):
        raise SchemaError(f"a schema must be an object, got {type(schema).__name__}")
    try:
        canonical = msgspec.json.encode(schema, order="sorted")
    except (TypeError, ValueError, RecursionError) as error:
        raise SchemaError(f"a schema must be JSON: {error}") from None
    if len(canonical) > MAX_SIZE:
        raise SchemaError(f"schema of {len(canonical)} bytes; the limit is {MAX_SIZE}")
    digest = hashlib.sha256(canonical).digest()
    with _lock:
        found = _cache.get(digest)
        if found is not None:
            _cache.move_to_end(digest)
            return found
    # From here on our own copy: the caller may change its dict while it is being compiled.
    own = msgspec.json.decode(canonical)
    _check_bounds(own)
    cost = Cost(own)
    if cost.expansion() > MAX_EXPANSION:
        raise SchemaError(f"schema stands for more than {MAX_EXPANSION} schemas once its $refs are followed")
    validator = Validator(build(own, dialect_of(own), detail_depth=cost.detail_depth()))
    with _lock:
        _cache[digest] = validator
        while len(_cache) > CACHE_SIZE:
            _cache.popitem(last=False)
    return validator


def _check_bounds(schema: dict[str, Any]) -> None:
    pending: list[tuple[int, Any]] = [(1, schema)]
    while pending:
        nesting, value = pending.pop()
        if nesting > MAX_NESTING:
            raise SchemaError(f"schema nests deeper than {MAX_NESTING} containers")
        inner = value.values() if isinstance(value, dict) else value
        pending.extend((nesting + 1, item) for item in inner if isinstance(item, dict | list))
    for count, (depth, _) in enumerate(subschemas(schema), 1):
        if depth > MAX_DEPTH:
            raise SchemaError(f"schema nests deeper than {MAX_DEPTH} subschemas")
        if count > MAX_SUBSCHEMAS:
            raise SchemaError(f"schema has more than {MAX_SUBSCHEMAS} subschemas")


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"
