"""HTTP+SSE without I/O, client side: one event stream for all that the server says, one path to post messages to.

The transport of the first revision, for servers that know nothing newer. The same face as `StreamableHTTPClient`; the
connection is the stream: when it ends, everything ends.
"""

import re
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

from ..client import ClientEngine
from ..errors import ErrorCode, ErrorObject
from ..events import Call, Event
from ..framing.sse import ServerSentEvent
from .answer import JSON_TYPE, Header
from .client_errors import lost
from .client_exchange import ACCEPT_STREAM, ClientExchange, ClientWire, StreamableHTTPClientOptions

__all__ = ["SSEClient"]

_ACCEPT_ANY: Final = (b"accept", b"application/json, text/event-stream")
_PORTS: Final = {"http": 80, "https": 443}
_TARGET = re.compile(r"/[!-~]*")
_MOST_HELD: Final = 1024


class SSEClient:
    """Carries one engine's messages over HTTP+SSE.

    Start the engine with the handshake era: no server of this transport knows another.

    Args:
        engine: a new one, used by nothing else.
        options: bounds; what they say of sessions and of coming back has no use here.
        url: that of the stream. A path for messages is resolved against it, and must have the same origin.

    Raises:
        ValueError: the URL is no absolute one of HTTP.
    """

    def __init__(self, engine: ClientEngine, options: StreamableHTTPClientOptions | None = None, *, url: str) -> None:
        self.engine = engine
        engine.is_silence_evidence = False
        self._wire = ClientWire(engine, options or StreamableHTTPClientOptions())
        self._endpoint = _Endpoint(engine, url)
        self._is_begun = False
        self._held: list[tuple[bytes, Call | None]] = []
        self._is_at_rest = False

    def requests_to_send(self, now: float) -> list[ClientExchange]:
        """Return the requests to be started now, each exactly once; the first is the stream's."""
        if not self._is_begun and not self.engine.closed:
            self._is_begun = True
            self._wire.start(_Stream(self._wire, self._endpoint))
        self._carry()
        return self._wire.take_started()

    def dropped(self) -> list[ClientExchange]:
        """Return the requests whose connections are to be closed now."""
        self._carry()
        return self._wire.take_dropped()

    def events_received(self) -> list[Event]:
        """Return what happened since the last call, in order."""
        return self._wire.take_events()

    def next_deadline(self) -> float | None:
        """Return the engine's earliest deadline, absolute on the caller's clock."""
        return self.engine.next_deadline()

    def handle_deadline(self, now: float) -> None:
        """Expire what is due at the engine."""
        self.engine.handle_deadline(now)

    def close(self, now: float) -> None:
        """End the connection. Idempotent."""
        self.engine.receive_eof()
        self._carry()

    def _carry(self) -> None:
        """Post what the engine has to say, or keep it until it is known where to."""
        for outgoing in self.engine.messages_to_send():
            if outgoing.cancels is not None:
                post = self._endpoint.posts.pop(outgoing.cancels, None)
                if post is not None:
                    self._wire.drop(post)
            self._held.append((outgoing.data, outgoing.call))
        if self.engine.closed:
            self._held.clear()
            if not self._is_at_rest:
                self._is_at_rest = True
                self._wire.drop_all()
        elif self._endpoint.target is not None:
            held, self._held = self._held, []
            for data, call in held:
                self._post(data, call)

    def _post(self, data: bytes, call: Call | None) -> None:
        headers: list[Header] = [JSON_TYPE, _ACCEPT_ANY]
        revision = self.engine.revision
        if revision is not None and revision.version_header:
            headers.append((b"mcp-protocol-version", revision.name.encode()))
        post = _Post(self._wire, headers, data, call, self._endpoint)
        if call is not None:
            self._endpoint.posts[call] = post
        self._wire.start(post)


class _Endpoint:
    """Where messages are posted to, once the server has said it, and those on their way there."""

    def __init__(self, engine: ClientEngine, url: str) -> None:
        self.target: str | None = None
        self.posts: dict[Call, _Post] = {}
        self._engine = engine
        self._url = url
        self._origin = _origin(urlsplit(url))

    def receive(self, reference: str) -> None:
        """Take the endpoint that the server names."""
        try:
            found = urlsplit(urljoin(self._url, reference))
            is_ours = _origin(found) == self._origin
        except ValueError:
            self.fail(f"the server names an endpoint that is no URL: {reference[:200]!r}")
            return
        target = (found.path or "/") + (f"?{found.query}" if found.query else "")
        if not is_ours:
            # Messages, and the credentials that go with them, stay with the server that was asked for.
            self.fail(f"the server names an endpoint of another origin: {reference[:200]!r}")
        elif not _TARGET.fullmatch(target):
            self.fail(f"the server names an endpoint that is no path: {reference[:200]!r}")
        else:
            self.target = target

    def fail(self, why: str) -> None:
        """End the connection."""
        self._engine.receive_eof(ErrorObject(ErrorCode.INTERNAL_ERROR, why))


def _origin(url: SplitResult) -> tuple[str, str, int]:
    """Return scheme, host and port.

    Raises:
        ValueError: it is no absolute URL of HTTP.
    """
    if url.scheme not in _PORTS or not url.hostname:
        raise ValueError("an absolute http or https URL is needed")
    return url.scheme, url.hostname, url.port or _PORTS[url.scheme]


class _Stream(ClientExchange):
    """The GET that carries all that the server says."""

    def __init__(self, wire: ClientWire, endpoint: _Endpoint) -> None:
        super().__init__(wire, "GET", [ACCEPT_STREAM])
        self._endpoint = endpoint

    def _receive_event(self, event: ServerSentEvent, now: float) -> None:
        endpoint = self._endpoint
        if endpoint.target is not None:
            super()._receive_event(event, now)
        elif event.event == "endpoint":
            endpoint.receive(event.data.decode("utf-8", "replace"))
        else:
            endpoint.fail(f"the stream begins with an event {event.event[:200]!r} instead of `endpoint`")
        if self.wire.engine.closed:
            self.wire.drop(self)

    def _receive_body(self, body: bytes, now: float) -> None:
        self.wire.engine.receive_eof(self.refusal(body))

    def _receive_refusal(self, body: bytes, now: float) -> None:
        self.wire.engine.receive_eof(self.refusal(body))

    def _receive_cut(self, why: str, now: float, *, was_sent: bool) -> None:
        if self.is_stream:
            error = ErrorObject(ErrorCode.INTERNAL_ERROR, f"the server's event stream is over: {why}")
        else:
            error = lost("the request for the event stream", why, was_sent=was_sent)
        self.wire.engine.receive_eof(error)


class _Post(ClientExchange):
    """A message on its way; what answers it comes on the stream."""

    def __init__(
        self, wire: ClientWire, headers: list[Header], data: bytes, call: Call | None, endpoint: _Endpoint
    ) -> None:
        super().__init__(wire, "POST", headers, data, call=call, is_repeatable=False, target=endpoint.target)
        self._endpoint = endpoint

    def _receive_opening(self, now: float) -> None:
        self._leave()
        self.wire.drop(self)

    def _receive_body(self, body: bytes, now: float) -> None:
        self._leave()

    def _receive_refusal(self, body: bytes, now: float) -> None:
        self._fail(self.refusal(body))

    def _receive_cut(self, why: str, now: float, *, was_sent: bool) -> None:
        what = "a notification or a response" if self.call is None else self.call.method
        self._fail(lost(what, why, was_sent=was_sent))

    def _fail(self, error: ErrorObject) -> None:
        self._leave()
        if self.call is None:
            self.wire.report(error)
        else:
            self.wire.engine.fail_call(self.call, error)

    def _leave(self) -> None:
        if self.call is not None:
            self._endpoint.posts.pop(self.call, None)
