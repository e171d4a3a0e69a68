"""The message-level machine both roles share: ids, correlation, cancellation, progress, deadlines, limits.

One engine owns exactly one JSON-RPC id space per direction. Order of use: `receive_message` → `messages_to_send` →
`events_received`. Nothing here knows sockets, clocks or tasks; whoever owns the clock passes `now` and deadlines.

Inbound requests:  OPEN ─send_result/send_error→ ANSWERED,  OPEN ─peer cancels, connection ends→ CANCELLED.
Outbound calls:    open ─reply→ Result | Failure | InputRequired,  ─deadline→ TimedOut,  ─cancel→ (silence).
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from . import meta, model
from .deadlines import NO_DEADLINES, DeadlineQueue
from .errors import ErrorCode, ErrorObject, LocalProtocolError
from .events import (
    Batch,
    Call,
    Cancelled,
    Closed,
    Event,
    Expired,
    Failure,
    Outgoing,
    Progress,
    Request,
    RequestState,
    TimedOut,
    Violation,
)
from .jsonrpc import (
    DECODE_ERRORS,
    Envelope,
    Malformed,
    RequestId,
    decode,
    encode_error,
    encode_notification,
    encode_request,
    split_batch,
    with_id,
)
from .limits import Limits
from .methods import DECODERS, METHODS, Role
from .params import CancelledParams, ProgressParams
from .revisions import Revision

__all__ = ["Engine"]

logger = logging.getLogger("kailash.protocol.engine")

_decode_error = msgspec.json.Decoder(ErrorObject).decode
_EMPTY = Raw(b"{}")
_INFINITE = float("inf")

# A member of an enum is 70 ns away in CPython 3.11.
_OPEN, _ANSWERED = RequestState.OPEN, RequestState.ANSWERED


class Engine(ABC):
    """The part of the protocol machine that does not depend on the role."""

    role: Role

    # A request over HTTP may have an engine to itself; what it does not use it need not make.
    principal: str | None = None
    """Who the peer is, as verified by the adapter."""
    closed = False
    _is_ending = False
    """The peer sends no more; what it has sent is still answered."""
    _last_id = 0
    _stray_responses = 0
    _listeners: dict[RequestId, Any] = MappingProxyType({})  # type: ignore[assignment]
    """Live subscriptions of the peer, where the role has any."""
    _revision: Revision | None = None
    """The revision settled by a handshake on this channel, if there was one."""
    _complaint: ErrorObject | None = None
    """The last error that answered nothing, while nothing was asked."""
    _calls: dict[RequestId, Call] = MappingProxyType({})  # type: ignore[assignment]
    """The open calls; in a dictionary of its own once one is made."""
    _renewed = _calls
    """By progress token, the open calls whose id is another one by now."""
    _deadlines: DeadlineQueue[Call | Request] = NO_DEADLINES
    _announced: set[Any] = frozenset()  # type: ignore[assignment]
    """The changes that what waits to be sent tells of, where the role tells of any."""

    def __init__(self, profile: Any) -> None:
        self.profile = profile
        self.limits: Limits = profile.limits
        self._events: list[Event] = []
        self._outgoing: list[Outgoing] = []
        self._requests: dict[RequestId, Request] = {}

    # What comes in

    def receive_message(self, data: bytes) -> None:
        """Take one whole JSON text; never raises for what the peer sent."""
        if self.closed:
            return
        self.receive_decoded(decode(data, self.limits), data)

    def receive_decoded(self, message: Envelope | Malformed, data: bytes) -> None:
        """Take a message that a binding has decoded already, in order to know where it belongs."""
        if self.closed:
            return
        if type(message) is Malformed:
            self._receive_other(message, data)
        elif message.method is not UNSET and message.id is not UNSET:
            self._receive_request(message, message.id, message.method, None)
        else:
            self._receive_envelope(message, None)

    def _receive_other(self, message: Malformed, data: bytes) -> None:
        """Take what is no single message: a batch, or nothing that can be read."""
        members = split_batch(data, self.limits)
        if members is None or isinstance(members, Malformed):
            self._receive_malformed(members or message, None)
        else:
            self._receive_batch(members)

    def receive_eof(self, error: ErrorObject | None = None) -> None:
        """Take the end of the connection: fails every open call and cancels every open request. Idempotent.

        Args:
            error: why it ended, if a binding knows more than that it did.
        """
        self._close(error)

    def receive_end_of_input(self) -> None:
        """Take the end of what the peer sends, where our side can still speak; for most roles that is the end."""
        self.receive_eof()

    def report_violation(self, error: ErrorObject) -> None:
        """Take a fault found below the engine (an oversized line, a bad frame); answered where the role answers."""
        if not self.closed:
            self._receive_malformed(Malformed(error), None)
        if self.role is Role.CLIENT and len(self._calls) == 1:
            # What could not be read was, as good as surely, the one answer awaited; better told now than timed out.
            [call] = self._calls.values()
            unreadable = ErrorObject(ErrorCode.INTERNAL_ERROR, f"unreadable answer: {error.message}")
            self._fail(call, unreadable, is_local=True)

    def _receive_envelope(self, envelope: Envelope, batch: Batch | None) -> None:
        if envelope.method is UNSET:
            self._receive_response(envelope)
        elif envelope.id is UNSET:
            self._receive_notification(envelope)
        else:
            self._receive_request(envelope, envelope.id, envelope.method, batch)

    def _receive_batch(self, members: list[bytes]) -> None:
        if self._revision is None or not self._revision.batching:
            why = "batches exist only in revision 2025-03-26" if self._revision is None else "no batches here"
            self._receive_malformed(Malformed(ErrorObject(ErrorCode.INVALID_REQUEST, f"Invalid request: {why}")), None)
            return
        batch = Batch(pending=1)  # one for this loop, so that an early reply does not end the batch
        for data in members:
            message = decode(data, self.limits)
            if type(message) is not Envelope:
                self._receive_malformed(message, batch)  # type: ignore[arg-type]
            elif message.method == "initialize" and message.id is not UNSET:
                # "The initialize request MUST NOT be part of a JSON-RPC batch" — 2025-03-26 basic/lifecycle
                error = ErrorObject(ErrorCode.INVALID_REQUEST, "Invalid request: initialize inside a batch")
                self._receive_malformed(Malformed(error, message.id), batch)
            else:
                self._receive_envelope(message, batch)
        self._end_batch_member(batch, None)

    @abstractmethod
    def _receive_request(self, envelope: Envelope, request_id: RequestId, method: str, batch: Batch | None) -> None: ...

    @abstractmethod
    def _receive_other_notification(self, method: str, params: Any) -> None: ...

    @abstractmethod
    def _settle(self, call: Call, raw: Raw) -> None: ...

    @abstractmethod
    def _abandon(self, call: Call, reason: str | None) -> None:
        """Tell the peer that its answer is no longer wanted."""

    @abstractmethod
    def _answers_malformed(self) -> bool:
        """Tell whether this role answers what it could not read."""

    def _receive_malformed(self, message: Malformed, batch: Batch | None) -> None:
        logger.debug("! %s", message.error.message)
        if message.is_response:
            call = None if message.id is UNSET else self._calls.get(message.id)
            if call is not None:
                error = ErrorObject(ErrorCode.INTERNAL_ERROR, f"invalid response: {message.error.message}")
                self._fail(call, error, is_local=True)
        elif self._answers_malformed():
            data = encode_error(message.id, message.error)
            if batch is None:
                related_to = None if message.id is UNSET else message.id
                self._outgoing.append(Outgoing(data, related_to, True, message.error.code))
            else:
                batch.parts.append(data)
        self._events.append(Violation(message.error))

    def _receive_response(self, envelope: Envelope) -> None:
        call = None if envelope.id is UNSET else self._calls.get(envelope.id)
        if envelope.id is UNSET and envelope.error is not UNSET and self.role is Role.CLIENT:
            # What a server could not read was, as good as surely, the one request that awaits its answer. Before any,
            # it is why the connection is about to end.
            if len(self._calls) == 1:
                [call] = self._calls.values()
            elif not self._calls:
                self._complain(envelope.error)
        if call is None:
            if type(envelope.id) is int and 0 < envelope.id <= self._last_id:
                # "SHOULD ignore any response to the cancelled request that arrives afterward"
                # — basic/patterns/cancellation
                logger.debug("! late response")
                return
            self._stray_responses += 1
            error = ErrorObject(ErrorCode.INVALID_REQUEST, "response to no open request")
            self._events.append(Violation(error))
            if self._stray_responses > self.limits.stray_responses:
                self._close(ErrorObject(ErrorCode.INVALID_REQUEST, "too many responses to no open request"))
            return
        if envelope.error is not UNSET:
            try:
                error = _decode_error(envelope.error)
                is_local = False
            except DECODE_ERRORS:
                error = ErrorObject(ErrorCode.INTERNAL_ERROR, "invalid response: malformed error object")
                is_local = True
            self._fail(call, error, is_local=is_local)
            return
        assert envelope.result is not UNSET
        self._settle(call, envelope.result)

    def _complain(self, raw: Raw) -> None:
        try:
            self._complaint = _decode_error(raw)
        except DECODE_ERRORS:
            logger.debug("! malformed error object")

    def _fail(self, call: Call, error: ErrorObject, *, is_local: bool = False) -> None:
        """End a call in an error; the client's era probe looks at some errors first."""
        self._finish(call)
        self._events.append(Failure(call, error, is_local))

    def _receive_notification(self, envelope: Envelope) -> None:
        method = envelope.method
        assert method is not UNSET
        spec = METHODS.get(method)
        raw = _EMPTY if envelope.params is UNSET else envelope.params
        params: Any = raw
        if spec is not None:
            if spec.is_request or not spec.sender & ~self.role:
                error = ErrorObject(ErrorCode.INVALID_REQUEST, f"{method} is not a notification of the other side")
                self._events.append(Violation(error))
                return
            try:
                params = DECODERS[method](raw)
            except DECODE_ERRORS as fault:
                # "Invalid … notifications SHOULD be ignored" — basic/patterns/cancellation#error-handling
                why = f"{method}: {fault}"
                self._events.append(Violation(ErrorObject(ErrorCode.INVALID_PARAMS, why)))
                return
        if type(params) is CancelledParams:
            self._receive_cancelled(params)
        elif type(params) is ProgressParams:
            self._receive_progress(params)
        else:
            self._receive_other_notification(method, params)

    def _receive_cancelled(self, params: CancelledParams) -> None:
        request = None if params.request_id is UNSET else self._requests.get(params.request_id)
        if request is None:
            return  # unknown or finished: ignored without error; `initialize` is answered before it could be withdrawn
        self._cancel_request(request, None if params.reason is UNSET else params.reason)

    def _cancel_request(self, request: Request, reason: str | None) -> None:
        del self._requests[request.id]
        request.state = RequestState.CANCELLED
        self._deadlines.disarm(request)
        self._end_batch_member(request.batch, None)
        self._events.append(Cancelled(request, reason))

    def _receive_progress(self, params: ProgressParams) -> None:
        call = self._call_of_token(params.progress_token)
        if call is None or (call.progress is not None and params.progress <= call.progress):
            # "The progress value MUST increase with each notification" — basic/patterns/progress
            why = "progress for no open request" if call is None else "progress did not increase"
            self._events.append(Violation(ErrorObject(ErrorCode.INVALID_PARAMS, why)))
            return
        call.progress = params.progress
        total = None if params.total is UNSET else params.total
        message = None if params.message is UNSET else params.message
        self._events.append(Progress(call, params.progress, total, message))

    def _call_of_token(self, token: int | str) -> Call | None:
        """Return the call that chose the token; tokens are the call's own id."""
        call = self._calls.get(token) or self._renewed.get(token)
        return call if call is not None and call.progress_token is not UNSET else None

    # What goes out

    def events_received(self) -> list[Event]:
        """Return what happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    @property
    def last_size(self) -> int:
        """How many bytes the last message has that waits to be sent, 0 if none does: large ones are written at once."""
        return len(self._outgoing[-1].data) if self._outgoing else 0

    def messages_to_send(self) -> list[Outgoing]:
        """Return what is to be sent since the last call, encoded, in order."""
        outgoing, self._outgoing = self._outgoing, []
        if self._announced:
            self._announced.clear()
        return outgoing

    def send_error(self, request: Request, error: ErrorObject) -> None:
        """Answer a request with an error; nothing is sent once it was cancelled.

        Raises:
            LocalProtocolError: the request is already answered.
        """
        if not self._take(request):
            return
        revision = request.context.revision
        if error.code in revision.forbidden_codes:
            # A code of an older revision, or one kept for the specification, means something else to this peer.
            code = ErrorCode.INVALID_PARAMS if error.code == ErrorCode.RESOURCE_NOT_FOUND else ErrorCode.INTERNAL_ERROR
            error = ErrorObject(code, error.message, error.data)
        after = error.data.get("retryAfter") if isinstance(error.data, dict) else None
        self._reply(
            request,
            encode_error(request.id, error),
            error.code,
            after if isinstance(after, int | float) and after >= 0 else None,
        )

    def send_progress(
        self, request: Request, progress: float, total: float | None = None, message: str | None = None
    ) -> bool:
        """Tell how far a request has come; returns whether anything was sent.

        Nothing is sent without a token of the peer's, after the answer, or when `progress` did not increase.
        """
        token = request.progress_token
        if token is UNSET or request.state is not _OPEN or request.is_listen:
            return False
        if not -_INFINITE < progress < _INFINITE:
            return False  # JSON has no form for it
        # "The progress value MUST increase with each notification" — basic/patterns/progress
        if request.progress is not None and not progress > request.progress:
            return False
        request.progress = progress
        params = ProgressParams(
            progress_token=token,
            progress=progress,
            total=UNSET if total is None else total,
            message=UNSET if message is None else message,
        )
        self._notify("notifications/progress", self.adapt(params, request.context.revision), related_to=request.id)
        return True

    def send_notification(
        self, method: str, params: Struct | None = None, *, related_to: Request | None = None
    ) -> None:
        """Send a notification; with `related_to`, on the stream of that request and only while it is open.

        Raises:
            LocalProtocolError: the method is no notification of ours in this revision.
        """
        spec = METHODS.get(method)
        if spec is not None and (spec.is_request or not spec.sender & self.role):
            raise LocalProtocolError(f"{method} is not a notification of this side")
        revision = self._revision if related_to is None else related_to.context.revision
        if spec is not None and revision is not None and method not in revision.methods:
            raise LocalProtocolError(f"{method} does not exist in revision {revision.name}")
        if related_to is not None and related_to.state is not _OPEN:
            return
        self._notify(method, params, related_to=None if related_to is None else related_to.id)

    def limit_request(self, request: Request, deadline: float) -> None:
        """Arm a deadline for an inbound request; when it passes, `Expired` is reported."""
        if request.state is _OPEN:
            self._arm(request, deadline)

    def extend(self, call: Call, deadline: float) -> None:
        """Move the deadline of an open call."""
        if call.is_open:
            self._arm(call, deadline)

    def cancel(self, call: Call, reason: str | None = None) -> None:
        """Withdraw a call; its answer, should one come, is ignored. A finished call is left alone."""
        if call.is_open:
            self._finish(call)
            self._abandon(call, reason)

    # For bindings that carry each call on a stream of its own

    def mint_id(self) -> RequestId:
        """Return an id for a request of the binding's own, whose answer it keeps to itself."""
        self._last_id += 1
        return self._last_id

    def renew(self, call: Call, data: bytes) -> bytes:
        """Give an open call another id, and return its request under that; answers to the old one are late ones.

        Args:
            call: an open call.
            data: its request, as it was to be sent.
        """
        del self._calls[call.id]
        call.id = self.mint_id()
        call.progress = None
        self._calls[call.id] = call
        if call.progress_token is not UNSET:
            self._renewed[call.progress_token] = call
        return with_id(data, call.id)

    def fail_call(self, call: Call, error: ErrorObject) -> None:
        """End a call for a reason found below the engine; one that ended already is left alone."""
        if call.is_open:
            self._fail(call, error, is_local=True)

    def cancel_request(self, request: Request, reason: str | None = None) -> None:
        """Take the word of a lower layer that the peer withdrew a request (its stream was closed)."""
        if request.state is _OPEN:
            self._cancel_request(request, reason)

    @property
    def in_flight(self) -> int:
        """How many inbound requests count as in flight: live subscriptions do not."""
        return len(self._requests) - len(self._listeners)

    @property
    def is_owing(self) -> bool:
        """Tell whether an inbound request awaits its answer."""
        return bool(self._requests)

    @property
    def open_requests(self) -> list[Request]:
        """The inbound requests that await their answer."""
        return list(self._requests.values())

    @property
    def open_calls(self) -> list[Call]:
        """The outbound calls that await their answer."""
        return list(self._calls.values())

    @property
    def revision(self) -> Revision | None:
        """The revision settled by a handshake on this channel, if there was one."""
        return self._revision

    # Time

    def next_deadline(self) -> float | None:
        """Return the earliest deadline, absolute on the caller's clock."""
        return self._deadlines.next()

    def handle_deadline(self, now: float) -> None:
        """Expire what is due, each at most once."""
        for subject in self._deadlines.expire(now):
            if isinstance(subject, Request):
                self._events.append(Expired(subject))
            else:
                self._expire_call(subject, now)

    def _expire_call(self, call: Call, now: float) -> None:
        self._finish(call)
        self._abandon(call, "timed out")
        self._events.append(TimedOut(call))

    # Shared mechanics

    def _new_call(self, method: str, body: bytes, *, progress: bool = False, **fields: Any) -> Call:
        """Mint an id and register a call; ids count up and are never used twice."""
        self._last_id += 1
        token = self._last_id if progress else UNSET
        call = Call(self._last_id, method, body, progress_token=token, **fields)
        self._calls[call.id] = call
        return call

    def _arm(self, subject: Call | Request, deadline: float) -> None:
        if self._deadlines is NO_DEADLINES:
            self._deadlines = DeadlineQueue()
        self._deadlines.arm(subject, deadline)

    def check_room(self, count: int = 1) -> None:
        """Raise `LocalProtocolError` if so many more calls cannot be made."""
        if self.closed:
            raise LocalProtocolError("the connection is closed")
        if len(self._calls) + count > self.limits.calls:
            raise LocalProtocolError(f"more than {self.limits.calls} calls in flight")

    def _emit_request(self, call: Call, params: bytes) -> None:
        data = encode_request(call.id, call.method, params)
        self._outgoing.append(Outgoing(data, call.related_to, call=call))

    def _notify(self, method: str, params: Any, *, related_to: RequestId | None = None) -> None:
        if self.closed:
            return
        body = b"" if params is None else model.encode(params)
        self._outgoing.append(Outgoing(encode_notification(method, body), related_to))

    def _finish(self, call: Call) -> None:
        call.is_open = False
        self._calls.pop(call.id, None)
        if self._renewed and call.progress_token is not UNSET:
            self._renewed.pop(call.progress_token, None)
        self._deadlines.disarm(call)

    def _take(self, request: Request) -> bool:
        """Claim the right to answer; `False` when the peer no longer wants the answer."""
        if request.state is _OPEN:
            self._settle_request(request)
            return True
        if request.state is RequestState.CANCELLED:
            return False
        raise LocalProtocolError(f"request {request.id!r} is already answered")

    def _settle_request(self, request: Request) -> None:
        del self._requests[request.id]
        request.state = _ANSWERED
        if self._deadlines is not NO_DEADLINES:
            self._deadlines.disarm(request)

    def _reply(self, request: Request, data: bytes, code: int | None = None, retry_after: float | None = None) -> None:
        if request.batch is None:
            self._outgoing.append(Outgoing(data, request.id, True, code, retry_after=retry_after))
        else:
            self._end_batch_member(request.batch, data)
        if self._is_ending:
            self._close_if_done()

    def _close_if_done(self) -> None:
        if self._is_ending and not self._requests:
            self._close(None)

    def _end_batch_member(self, batch: Batch | None, data: bytes | None) -> None:
        if batch is None:
            return
        if data is not None:
            batch.parts.append(data)
        batch.pending -= 1
        if batch.pending == 0 and batch.parts:
            # "a batch of only notifications yields no response" — JSON-RPC 2.0 section 6
            self._outgoing.append(Outgoing(b"[" + b",".join(batch.parts) + b"]", batch.id, True))

    @staticmethod
    def adapt(value: Any, revision: Revision) -> Any:
        """Step a value of the newest shape down to what the revision knows."""
        downgrade = revision.downgrades.get(type(value))
        return value if downgrade is None else downgrade(value)

    def _close(self, error: ErrorObject | None) -> None:
        if self.closed:
            return
        self.closed = True
        error = error or self._complaint
        for request in self._requests.values():
            request.state = RequestState.CANCELLED
            self._events.append(Cancelled(request, "connection closed"))
        self._requests.clear()
        if self._calls:
            lost = error or ErrorObject(ErrorCode.INTERNAL_ERROR, "connection closed")
            for call in list(self._calls.values()):
                self._lose(call, lost)
        self._deadlines.clear()
        self._events.append(Closed(error))

    def _lose(self, call: Call, error: ErrorObject) -> None:
        self._finish(call)
        self._events.append(Failure(call, error, is_local=True))


def splice_meta(body: bytes, members: bytes) -> bytes:
    """Put an encoded `_meta` member list in front of the members of an encoded object."""
    if not members:
        return body
    head = b'{"_meta":{%b}' % members
    return head + b"}" if len(body) <= 2 else b"%b,%b" % (head, body[1:])


def encode_meta(values: Mapping[str, Any], token: int | str | UnsetType = UNSET) -> bytes:
    """Encode `_meta` members without their braces."""
    merged = dict(values)
    if token is not UNSET:
        merged[meta.PROGRESS_TOKEN] = token
    return model.encode(merged)[1:-1]
