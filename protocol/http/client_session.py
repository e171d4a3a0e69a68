"""A client's side of a session of the handshake era over HTTP: its id, its loss and renewal, and the listening stream.

The headers of every message are made here too: they are what is left of a session in the envelope era.

| State     | begin    | greeted | lose     | renewed  |
|-----------|----------|---------|----------|----------|
| NONE      | GREETING |         |          |          |
| GREETING  |          | LIVE    | RENEWING |          |
| LIVE      |          |         | RENEWING |          |
| RENEWING  |          |         |          | GREETING |

Nothing but `initialize` and `notifications/initialized` is sent while GREETING or RENEWING; what is to be sent waits.
"""

import re
from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

import msgspec
from msgspec import Raw, Struct

from ..errors import ErrorCode, ErrorObject
from ..events import Call
from ..framing.headers import encode_value, trim
from ..jsonrpc import DECODE_ERRORS, with_id
from ..params import SubscribeParams
from ..revisions import Era
from .answer import Header
from .client_errands import Errand, Notice
from .client_errors import TRANSIENT
from .client_exchange import POST_HEADERS, ClientExchange, ClientWire, back_off
from .client_stream import ListeningStream

__all__ = ["HTTPSession", "SessionMove", "SessionState"]

_SESSION: Final = b"mcp-session-id"
_VISIBLE = re.compile(rb"[!-~]+")
_METHOD = re.compile(r"[!-~]+")


class _Greeting(Struct):
    """What is looked at in an InitializeResult."""

    version: str = msgspec.field(name="protocolVersion")


class _Notification(Struct):
    method: str | None = None


_decode_greeting = msgspec.json.Decoder(_Greeting).decode
_decode_watched = msgspec.json.Decoder(SubscribeParams).decode
_decode_notification = msgspec.json.Decoder(_Notification).decode


class SessionState(Enum):
    """Where a session stands."""

    NONE = "none"
    GREETING = "greeting"
    LIVE = "live"
    RENEWING = "renewing"


class SessionMove(Enum):
    """What moves a session."""

    BEGIN = "the server answered `initialize`"
    GREETED = "the server took `notifications/initialized`"
    LOSE = "the server answered 404 to a request of the session"
    RENEWED = "the server answered the `initialize` that was repeated"


SESSION: Final[Mapping[tuple[SessionState, SessionMove], SessionState]] = MappingProxyType(
    {
        (SessionState.NONE, SessionMove.BEGIN): SessionState.GREETING,
        (SessionState.GREETING, SessionMove.GREETED): SessionState.LIVE,
        (SessionState.GREETING, SessionMove.LOSE): SessionState.RENEWING,
        (SessionState.LIVE, SessionMove.LOSE): SessionState.RENEWING,
        (SessionState.RENEWING, SessionMove.RENEWED): SessionState.GREETING,
    }
)
"""What each move leads to; a pair that is not here cannot happen."""


def _modern_headers(revision: str, method: str | None, name: str | None) -> tuple[Header, ...]:
    if method is None or not _METHOD.fullmatch(method):
        raise ValueError(f"method {method!r} has no form in the header Mcp-Method: use visible ASCII")
    headers = (*POST_HEADERS, (b"mcp-protocol-version", revision.encode()), (b"mcp-method", method.encode()))
    return headers if name is None else (*headers, (b"mcp-name", encode_value(name)))


class HTTPSession:
    """The session with one server, if it has any.

    Args:
        wire: where exchanges are begun.
    """

    def __init__(self, wire: ClientWire) -> None:
        self.wire = wire
        self.state = SessionState.NONE
        self.id: bytes | None = None
        self.number = 0
        """Which session this is: it counts those that were lost."""
        self.on_loss: Callable[[float], None]
        """Told of a loss, when nothing is sent any more; set by whoever sends calls."""
        self.on_ready: Callable[[float], None]
        """Told when what waits may be sent; likewise."""
        self.is_waiting: Callable[[], bool]
        """Tells whether a call waits to take up its stream; likewise."""
        self._initialize = b""
        self._posted: tuple[str, str | None, str | None, tuple[Header, ...]] | None = None
        """The last POST's revision, method and name, and its headers."""
        self._level: bytes | None = None
        self._watched: dict[str, bytes] = {}
        self._held: list[bytes] = []
        self._losses = 0
        self._failures = 0
        self._stream = ListeningStream(self)

    @property
    def is_held(self) -> bool:
        """Tell whether what is to be sent has to wait."""
        return self.state is SessionState.GREETING or self.state is SessionState.RENEWING

    def _move(self, move: SessionMove) -> None:
        self.state = SESSION[self.state, move]

    # Headers

    def headers(self) -> list[Header]:
        """Return the headers that requests of the session carry."""
        headers: list[Header] = []
        if self.id is not None:
            headers.append((_SESSION, self.id))
        revision = self.wire.engine.revision
        if revision is not None and revision.version_header:
            headers.append((b"mcp-protocol-version", revision.name.encode()))
        return headers

    def post_headers(self, method: str | None, name: str | None = None) -> list[Header]:
        """Return the headers of a POST.

        Args:
            method: of the message; `None` for a response.
            name: the value to be repeated in `Mcp-Name`.

        Raises:
            ValueError: the method has no form in a header.
        """
        revision = self.wire.engine.speaking
        if revision.era is Era.HANDSHAKE:
            return [*POST_HEADERS, *self.headers()]
        # More often than not a client calls what it called before.
        known = self._posted
        if known is None or known[0] != revision.name or known[1] != method or known[2] != name:
            known = self._posted = (revision.name, method, name, _modern_headers(revision.name, method, name))
        return list(known[3])

    # The beginning

    def begin(self, data: bytes, exchange: ClientExchange) -> None:
        """Take that the engine took the answer to `initialize`.

        Args:
            data: the request.
            exchange: what brought the answer.
        """
        self._initialize = data
        self._move(SessionMove.BEGIN)
        self._take_id(exchange)

    def _take_id(self, exchange: ClientExchange) -> bool:
        value = exchange.response_headers.get(_SESSION)
        self.id = None if value is None else trim(value)
        # "The session ID MUST only contain visible ASCII characters (ranging from 0x21 to 0x7E)"
        # — 2025-11-25 basic/transports#session-management
        if self.id is None or _VISIBLE.fullmatch(self.id):
            return True
        self.id = None
        why = "the server's Mcp-Session-Id has other characters than visible ASCII"
        self.wire.engine.receive_eof(ErrorObject(ErrorCode.INTERNAL_ERROR, why))
        return False

    def notify(self, data: bytes, *, is_related: bool) -> None:
        """Send a notification or a response.

        Args:
            data: the message.
            is_related: it belongs to a request of the server's.
        """
        try:
            method = _decode_notification(data).method
        except DECODE_ERRORS:
            method = None  # the responses to a batch
        if method == "notifications/initialized":
            Notice(self.wire, self.post_headers(method), data, self._greet_done(self.number))
        elif self.state is not SessionState.RENEWING:
            self._notify(method, data)
        elif not is_related and len(self._held) < self.wire.engine.limits.requests:
            # What belongs to a request of a session that is lost is nobody's concern any more.
            self._held.append(data)

    def _notify(self, method: str | None, data: bytes) -> None:
        number = self.number

        def done(notice: Notice, error: ErrorObject | None, now: float) -> None:
            if error is not None and not self.check_loss(notice, number, now):
                self.wire.report(error)

        try:
            headers = self.post_headers(method)
        except ValueError as fault:
            self.wire.report(ErrorObject(ErrorCode.INVALID_REQUEST, str(fault)))
        else:
            Notice(self.wire, headers, data, done)

    def _greet_done(self, number: int) -> Callable[[Notice, ErrorObject | None, float], None]:
        def done(notice: Notice, error: ErrorObject | None, now: float) -> None:
            if error is not None:
                if self.check_loss(notice, number, now):
                    return
                self.wire.report(error)
            self._greeted(now)

        return done

    def _greeted(self, now: float) -> None:
        self._move(SessionMove.GREETED)
        if self.number:
            self._restore(now)
        self._stream.open(now)
        held, self._held = self._held, []
        for data in held:
            self.notify(data, is_related=False)
        self.on_ready(now)

    def _restore(self, now: float) -> None:
        """Ask again for what the server had been asked to do on its own account."""
        number = self.number

        def then(errand: Errand, result: Raw | None, error: ErrorObject | None, now: float) -> None:
            if error is not None and not self.check_loss(errand, number, now):
                self.wire.report(error)

        for data in [*([] if self._level is None else [self._level]), *self._watched.values()]:
            self._errand(data, self.post_headers(None), then, now)

    def _errand(
        self,
        data: bytes,
        headers: list[Header],
        then: Callable[[Errand, Raw | None, ErrorObject | None, float], None],
        now: float,
    ) -> None:
        request_id = self.wire.engine.mint_id()
        Errand(self.wire, headers, with_id(data, request_id), request_id, then, now)

    # What passes by

    def learn(self, call: Call, data: bytes) -> None:
        """Take that a call ended well, and remember what a new session has to be told.

        Args:
            call: the call.
            data: its request.
        """
        self._losses = 0
        if call.method == "logging/setLevel":
            self._level = data
        elif call.method == "resources/subscribe":
            self._watched[_decode_watched(call.body).uri] = data
        elif call.method == "resources/unsubscribe":
            self._watched.pop(_decode_watched(call.body).uri, None)

    # Loss and renewal

    def check_loss(self, exchange: ClientExchange, number: int, now: float) -> bool:
        """Tell whether a refusal means that the session is lost, and if so renew it, once.

        Args:
            exchange: what was refused.
            number: of the session it was sent in.
            now: the time.
        """
        # "When a client receives HTTP 404 in response to a request containing an Mcp-Session-Id, it MUST start a new
        # session by sending a new InitializeRequest without a session ID attached" — 2025-11-25 basic/transports
        if exchange.status != 404 or not any(name == _SESSION for name, _ in exchange.headers):
            return False
        if number == self.number:
            self._lose(now)
        return True

    def _lose(self, now: float) -> None:
        engine = self.wire.engine
        self._move(SessionMove.LOSE)
        self.number += 1
        self.id = None
        self._stream.close()
        for request in engine.open_requests:
            # A new session counts its requests anew, so that an answer to an old one would be one to another.
            engine.cancel_request(request, "the session was lost")
        self._losses += 1
        self._failures = 0
        if self._losses > self.wire.options.losses:
            why = "the server forgets every session before it answers a call"
            engine.receive_eof(ErrorObject(ErrorCode.INTERNAL_ERROR, why))
            return
        self._renew(now)
        self.on_loss(now)

    def _renew(self, now: float) -> None:
        self._errand(self._initialize, list(POST_HEADERS), self._renewed, now)

    def _renewed(self, errand: Errand, result: Raw | None, error: ErrorObject | None, now: float) -> None:
        engine = self.wire.engine
        if result is None:
            assert error is not None
            self._failures += 1
            is_passing = errand.was_lost or errand.status in TRANSIENT
            if is_passing and self._failures < self.wire.options.attempts:
                self.wire.deadlines.arm(self, now + back_off(self.wire, None, self._failures))
                return
            why = f"the session was lost and could not be renewed: {error.message}"
            engine.receive_eof(ErrorObject(error.code, why, error.data))
            return
        assert engine.revision is not None
        try:
            version = _decode_greeting(result).version
        except DECODE_ERRORS:
            version = ""
        if version != engine.revision.name:
            why = f"the session was lost, and the server now speaks {version!r} instead of {engine.revision.name!r}"
            engine.receive_eof(ErrorObject(ErrorCode.UNSUPPORTED_VERSION, why))
        elif self._take_id(errand):
            self._move(SessionMove.RENEWED)
            data = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
            Notice(self.wire, self.post_headers(None), data, self._greet_done(self.number))

    def handle_due(self, now: float) -> None:
        """Try again to renew the session."""
        self._renew(now)

    # The listening stream

    def open_late(self, now: float) -> None:
        """Open the listening stream if it waited for calls that take up theirs."""
        if self._stream.is_late and not self.is_waiting():
            self._stream.open(now)

    def end(self) -> ClientExchange | None:
        """Return what ends the session at the server, `None` if there is none."""
        if self.id is None:
            return None
        # "Clients that no longer need a particular session SHOULD send an HTTP DELETE" — 2025-11-25 basic/transports
        exchange = ClientExchange(self.wire, "DELETE", self.headers())
        self.id = None
        return exchange
