"""The five dated revisions as data, each a diff of the one before. The only file with revision dates.

Adding a revision is adding one constant at the end and one step in `adapt.py`.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any

from msgspec import Struct, structs

from . import adapt
from .errors import ErrorCode, Fault
from .methods import TASKS_EXTENSION

__all__ = [
    "ENVELOPE_REVISIONS",
    "HANDSHAKE_REVISIONS",
    "LATEST",
    "LATEST_HANDSHAKE",
    "REVISIONS",
    "Era",
    "Revision",
    "find",
    "select",
]


class Era(Enum):
    """The two families of revisions."""

    HANDSHAKE = "handshake"
    """`initialize`, then a session."""
    ENVELOPE = "envelope"
    """Every request describes itself in `_meta`."""


class Revision(Struct, frozen=True, eq=False):
    """What distinguishes one revision of the specification."""

    name: str
    era: Era
    methods: frozenset[str]
    batching: bool = False
    """Arrays of messages are accepted."""
    session_ids: bool = False
    """HTTP sessions exist (`Mcp-Session-Id`)."""
    version_header: bool = False
    """`MCP-Protocol-Version` is sent on every HTTP request."""
    resumable: bool = False
    """SSE streams may be resumed with `Last-Event-ID`."""
    primes_streams: bool = False
    """SSE answers begin with an empty event that carries an id."""
    tool_error_results: bool = False
    """Arguments that fail validation give a tool result with `isError`, not an error."""
    result_types: bool = False
    """Results say what they are in `resultType`."""
    elicitation_ids: bool = False
    """URL elicitations carry an `elicitationId`."""
    task_params: bool = False
    """`params.task` asks for a task."""
    error_ids_required: bool = False
    """Error responses have an id in the schema."""
    fault_codes: Mapping[Fault, int] = MappingProxyType({})
    forbidden_codes: frozenset[int] = frozenset()
    """Codes that must not be sent: of older revisions, or kept for the specification and given no meaning yet."""
    requires: Mapping[str, str | None] = MappingProxyType({})
    """Where a method needs another capability than its row in the method table says."""
    downgrades: Mapping[type, Callable[[Any], Any]] = MappingProxyType({})
    """By type, the function that steps a value of the newest shape down to this revision's."""

    def evolve(self, name: str, *, add: Iterable[str] = (), remove: Iterable[str] = (), **changes: Any) -> "Revision":
        """Derive the next revision: methods added and removed, fields changed."""
        added, removed = frozenset(add), frozenset(remove)
        assert not added & self.methods and removed <= self.methods, name
        return structs.replace(self, name=name, methods=(self.methods | added) - removed, **changes)

    def capability_of(self, method: str, default: str | None) -> str | None:
        """Return the capability path a method needs in this revision."""
        return self.requires.get(method, default)


_R2024_11_05 = Revision(
    name="2024-11-05",
    era=Era.HANDSHAKE,
    methods=frozenset(
        {
            "initialize",
            "notifications/initialized",
            "ping",
            "tools/list",
            "tools/call",
            "notifications/tools/list_changed",
            "resources/list",
            "resources/templates/list",
            "resources/read",
            "resources/subscribe",
            "resources/unsubscribe",
            "notifications/resources/list_changed",
            "notifications/resources/updated",
            "prompts/list",
            "prompts/get",
            "notifications/prompts/list_changed",
            "completion/complete",
            "logging/setLevel",
            "notifications/message",
            "notifications/progress",
            "notifications/cancelled",
            "roots/list",
            "notifications/roots/list_changed",
            "sampling/createMessage",
        }
    ),
    error_ids_required=True,
    forbidden_codes=frozenset(
        {ErrorCode.HEADER_MISMATCH, ErrorCode.MISSING_CLIENT_CAPABILITY, ErrorCode.URL_ELICITATION_REQUIRED}
    ),
    fault_codes=MappingProxyType({Fault.RESOURCE_NOT_FOUND: ErrorCode.RESOURCE_NOT_FOUND}),
    # There is no `completions` capability yet — 2024-11-05 schema, ServerCapabilities
    requires=MappingProxyType({"completion/complete": None}),
)
_R2025_03_26 = _R2024_11_05.evolve(
    "2025-03-26", batching=True, session_ids=True, resumable=True, requires=MappingProxyType({})
)
_R2025_06_18 = _R2025_03_26.evolve("2025-06-18", batching=False, version_header=True, add=("elicitation/create",))
_R2025_11_25 = _R2025_06_18.evolve(
    "2025-11-25",
    primes_streams=True,
    tool_error_results=True,
    elicitation_ids=True,
    task_params=True,
    error_ids_required=False,
    forbidden_codes=frozenset({ErrorCode.HEADER_MISMATCH, ErrorCode.MISSING_CLIENT_CAPABILITY}),
    add=(
        "notifications/elicitation/complete",
        "tasks/get",
        "tasks/result",
        "tasks/list",
        "tasks/cancel",
        "notifications/tasks/status",
    ),
)
_R2026_07_28 = _R2025_11_25.evolve(
    "2026-07-28",
    era=Era.ENVELOPE,
    session_ids=False,
    resumable=False,
    primes_streams=False,
    elicitation_ids=False,
    task_params=False,
    result_types=True,
    # "Resource not found … MUST be -32602" — 2026-07-28 server/resources#error-handling
    fault_codes=MappingProxyType({Fault.RESOURCE_NOT_FOUND: ErrorCode.INVALID_PARAMS}),
    # "-32020 to -32099 … reserved" — 2026-07-28 basic#error-codes
    forbidden_codes=frozenset({ErrorCode.RESOURCE_NOT_FOUND, *range(-32099, -32019)})
    - {ErrorCode.HEADER_MISMATCH, ErrorCode.MISSING_CLIENT_CAPABILITY, ErrorCode.UNSUPPORTED_VERSION},
    requires=MappingProxyType(
        dict.fromkeys(("tasks/get", "tasks/update", "tasks/cancel"), f"extensions:{TASKS_EXTENSION}")
    ),
    remove=(
        "initialize",
        "notifications/initialized",
        "ping",
        "resources/subscribe",
        "resources/unsubscribe",
        "logging/setLevel",
        "roots/list",
        "notifications/roots/list_changed",
        "sampling/createMessage",
        "elicitation/create",
        "notifications/elicitation/complete",
        "tasks/result",
        "tasks/list",
        "notifications/tasks/status",
    ),
    add=(
        "server/discover",
        "subscriptions/listen",
        "notifications/subscriptions/acknowledged",
        "tasks/update",
        "notifications/tasks",
    ),
)


def _with_downgrades(oldest: Revision, *newer: tuple[Revision, adapt.Step]) -> tuple[Revision, ...]:
    """Give each revision the composition of the steps that lead down to it from the newest shape."""
    steps: list[adapt.Step] = []
    done: list[Revision] = []
    for revision, step in reversed(newer):
        # Types keep what only 2025-11-25 had (core tasks), so even the newest revision sheds something of its own.
        way = steps or [adapt.TO_2026_07_28]
        done.append(structs.replace(revision, downgrades=adapt.compose(way)))
        steps.append(step)
    done.append(structs.replace(oldest, downgrades=adapt.compose(steps)))
    return tuple(reversed(done))


REVISIONS: tuple[Revision, ...] = _with_downgrades(
    _R2024_11_05,
    (_R2025_03_26, adapt.TO_2024_11_05),
    (_R2025_06_18, adapt.TO_2025_03_26),
    (_R2025_11_25, adapt.TO_2025_06_18),
    (_R2026_07_28, adapt.TO_2025_11_25),
)
"""Every revision, oldest first; each newer one stands beside the step that leads down from it."""

HANDSHAKE_REVISIONS = tuple(revision for revision in REVISIONS if revision.era is Era.HANDSHAKE)
ENVELOPE_REVISIONS = tuple(revision for revision in REVISIONS if revision.era is Era.ENVELOPE)
LATEST = REVISIONS[-1]
LATEST_HANDSHAKE = HANDSHAKE_REVISIONS[-1]

_BY_NAME = {revision.name: revision for revision in REVISIONS}


def find(name: str) -> Revision | None:
    """Return the revision of that name, if it is one of the five."""
    return _BY_NAME.get(name)


def select(names: Iterable[str]) -> list[Revision]:
    """Return the revisions of these names.

    Raises:
        ValueError: a name is not one of the five, or there is none; the message lists the known ones.
    """
    chosen = []
    for name in names:
        revision = find(name)
        if revision is None:
            raise ValueError(f"unknown revision {name!r}; known: {', '.join(_BY_NAME)}")
        chosen.append(revision)
    if not chosen:
        raise ValueError(f"name at least one revision of {', '.join(_BY_NAME)}")
    return chosen
