"""MCP over HTTP without I/O: endpoints that take whole requests, and the exchanges that answer them.

    head ─► endpoint.refuse ─► body ─► endpoint.receive_request ─► Answer | Exchange
    Exchange: events_received ─► the runtime ─► send_* on exchange.engine ─► flush ─► data_to_send of each returned

`data_to_send` lists a whole `Answer`; or, of an event stream, a `ResponseHead`, pieces of the body, and `END`.

The client side is `StreamableHTTPClient` and `SSEClient`: they take an engine and give out `ClientExchange`s.
"""

from .answer import END, Answer, Arrival, End, Header, Part, ResponseHead, refuse
from .client import ClientExchange, StreamableHTTPClient, StreamableHTTPClientOptions
from .endpoint import StreamableHTTPEndpoint, StreamableHTTPOptions
from .eventlog import Budget, EventLog, EventLogLimits, EventStore
from .exchange import Exchange, Receipt, SessionExchange, SingleExchange, StreamOptions
from .guard import Guard, GuardOptions
from .mirrors import HTTPServerEngine, Mirrors, ToolMirrors
from .session import Session
from .sse_client import SSEClient
from .sse_endpoint import SSEEndpoint, SSEExchange, SSEOptions
from .status import Source, proves_modern, status_of

__all__ = [
    "END",
    "Answer",
    "Arrival",
    "Budget",
    "ClientExchange",
    "End",
    "EventLog",
    "EventLogLimits",
    "EventStore",
    "Exchange",
    "Guard",
    "GuardOptions",
    "HTTPServerEngine",
    "Header",
    "Mirrors",
    "Part",
    "Receipt",
    "ResponseHead",
    "SSEClient",
    "SSEEndpoint",
    "SSEExchange",
    "SSEOptions",
    "Session",
    "SessionExchange",
    "SingleExchange",
    "Source",
    "StreamOptions",
    "StreamableHTTPClient",
    "StreamableHTTPClientOptions",
    "StreamableHTTPEndpoint",
    "StreamableHTTPOptions",
    "ToolMirrors",
    "proves_modern",
    "refuse",
    "status_of",
]
