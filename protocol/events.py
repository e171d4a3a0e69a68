"""Everything an engine reports, and the records it hands out: requests (inbound), calls (outbound), outgoing bytes.

Events are nouns, matched by class. A `Request` is answered with `send_result` or `send_error`; a `Call` ends in exactly
one of `Result`, `Failure`, `TimedOut` or `InputRequired`.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType

from .capabilities import ClientCapabilities, ServerCapabilities
from .errors import ErrorObject
from .jsonrpc import RequestId
from .revisions import Revision
from .types import Implementation, LoggingLevel

__all__ = [
    "Call",
    "Cancelled",
    "Change",
    "ChangeKind",
    "Closed",
    "Context",
    "Event",
    "Expired",
    "Failure",
    "InputRequest",
    "InputRequired",
    "Log",
    "Notification",
    "Outgoing",
    "Progress",
    "Ready",
    "Request",
    "RequestState",
    "Result",
    "Subscribed",
    "Subscription",
    "TimedOut",
    "Unsubscribed",
    "Violation",
]


class Context(Struct, frozen=True, eq=False):
    """What is known of the peer when a request is handled; shared by all requests that know the same."""

    revision: Revision
    peer: Implementation | None = None
    """Self-reported identity: for display, never for decisions."""
    capabilities: ClientCapabilities | ServerCapabilities | None = None
    log_level: LoggingLevel | None = None
    """Least level the client wants to hear; `None`: none was named."""
    can_call_peer: bool = False
    """Server-to-client requests exist here; otherwise inputs are asked for by `input_required`."""
    instructions: str | None = None
    """Client role: what the server says about its use."""
    versions: tuple[str, ...] = ()
    """Client role: what `server/discover` offers."""


class RequestState(Enum):
    """Where an inbound request stands."""

    OPEN = "open"
    ANSWERED = "answered"
    CANCELLED = "cancelled"


class Batch:
    """The replies to one 2025-03-26 batch, collected until every member has ended."""

    __slots__ = ("id", "parts", "pending")

    def __init__(self, pending: int) -> None:
        self.pending = pending
        self.id: RequestId | None = None
        """The first member that was admitted: it stands for all of them where replies are routed."""
        self.parts: list[bytes] = []


class Event(Struct, eq=False):
    """Base of everything reported by `events_received`."""


class Request(Event, eq=False):
    """An inbound request that awaits its answer."""

    id: RequestId
    method: str
    params: Any
    """The method's struct; payloads that belong to the handler are still raw."""
    context: Context
    principal: str | None = None
    """Who asks, as verified by the adapter; never read from the message."""
    progress_token: int | str | UnsetType = UNSET
    state: RequestState = RequestState.OPEN
    progress: float | None = None
    """The last progress sent."""
    batch: Batch | None = None
    is_listen: bool = False
    arguments: Any = None
    """What the arguments of a call were decoded to, where they were read with the request (`ServerProfile`)."""

    @property
    def is_open(self) -> bool:
        """Tell whether an answer is still owed."""
        return self.state is RequestState.OPEN


class Call(Struct, eq=False):
    """An outbound request whose answer is awaited."""

    id: RequestId
    method: str
    body: bytes = b""
    """The encoded params without `_meta`, `inputResponses` and `requestState`: what a retry repeats."""
    name: str | None = None
    """The value mirrored in `Mcp-Name`, if the method has one."""
    related_to: RequestId | None = None
    progress_token: int | str | UnsetType = UNSET
    progress: float | None = None
    """The last progress heard."""
    rounds: int = 0
    """How many `input_required` answers led here."""
    meta: Mapping[str, Any] | None = None
    """The caller's own `_meta` members, repeated on a retry."""
    log_level: LoggingLevel | None = None
    as_task: bool = False
    """It asks to be run as a task (2025-11-25)."""
    is_open: bool = True
    """The answer is still awaited."""


class Subscription(Call, eq=False):
    """A live interest in changes: a `subscriptions/listen` call, or what stands for it in the handshake era."""

    filter: Any = None
    """The filter asked for, then the one acknowledged."""
    is_acknowledged: bool = False


class Outgoing(Struct, frozen=True, gc=False):
    """Encoded bytes and what a binding needs to know to carry them."""

    data: bytes
    related_to: RequestId | None = None
    """The inbound request whose stream carries it, for a batch one of its requests; `None`: standalone."""
    final: bool = False
    """The response: that stream may end after it."""
    code: int | None = None
    """The error's code, where it is an error response."""
    call: Call | None = None
    """Client: gives method, mirrored name and params for headers."""
    cancels: Call | None = None
    """Client: a binding with a stream per call closes that stream instead of sending this."""
    retry_after: float | None = None
    """Seconds to wait, where the error says so (`data.retryAfter`)."""


class InputRequest(Struct, frozen=True):
    """One question of the server to the client: sampling, elicitation or roots."""

    method: str
    params: Any


class ChangeKind(Enum):
    """What can change at a server; the value is the filter's member."""

    TOOLS = "toolsListChanged"
    PROMPTS = "promptsListChanged"
    RESOURCES = "resourcesListChanged"
    RESOURCE = "resourceSubscriptions"
    TASK = "taskIds"


class Notification(Event):
    """The peer notified us of something the engine does not act on itself."""

    method: str
    params: Any
    context: Context | None = None


class Cancelled(Event):
    """The peer withdrew its request; nothing more is sent for it."""

    request: Request
    reason: str | None = None


class Expired(Event):
    """An inbound request's deadline passed; it is still owed an answer."""

    request: Request


class Result(Event):
    """A call ended well."""

    call: Call
    raw: Raw
    result_type: str = "complete"


class Failure(Event):
    """A call ended in an error."""

    call: Call
    error: ErrorObject
    is_local: bool = False
    """The error was found here (invalid response, connection closed), not sent by the peer."""


class TimedOut(Event):
    """A call's deadline passed; it was withdrawn."""

    call: Call


class Progress(Event):
    """The peer told how far a call has come."""

    call: Call
    progress: float
    total: float | None = None
    message: str | None = None


class Log(Event):
    """The server logged a message."""

    level: LoggingLevel
    data: Any
    logger: str | None = None


class InputRequired(Event):
    """A call ended because the server needs input first; `ClientEngine.answer` continues it."""

    call: Call
    requests: Mapping[str, InputRequest]
    state: str | UnsetType = UNSET


class Change(Event):
    """Something changed at the server."""

    kind: ChangeKind
    subscription: Subscription | None = None
    uri: str | None = None
    params: Any = None


class Subscribed(Event):
    """The server acknowledged a subscription; `subscription.filter` is what it honours."""

    subscription: Subscription


class Unsubscribed(Event):
    """A subscription ended."""

    subscription: Subscription
    error: ErrorObject | None = None


class Ready(Event):
    """The client may call: era and revision are settled."""

    context: Context


class Violation(Event):
    """The peer broke a rule; it was answered as the rule says and the connection lives on."""

    error: ErrorObject


class Closed(Event):
    """The connection is over; the last event."""

    error: ErrorObject | None = None
