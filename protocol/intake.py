"""What comes to a server, and what it must pass before anybody sees it.

A request walks one way: decode → era → context → method → capability → params → event (or a built-in answer). A call
that repeats an earlier one in all but id and arguments (`repeats`) has walked most of it before.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import UNSET, Raw, structs

from .engine import Engine
from .eras import EnvelopeEra, HandshakeEra, undeclared
from .errors import ErrorCode, ErrorObject
from .events import Batch, Context, Outgoing, Request
from .jsonrpc import (
    DECODE_ERRORS,
    Envelope,
    Malformed,
    RequestId,
    decode,
    duplicate_member,
    encode_error,
    is_compact_call,
    is_valid_id,
)
from .meta import RequestMeta
from .methods import Role
from .params import CallToolParams, GetPromptParams, PaginatedParams, Params
from .profiles import ServerProfile
from .repeats import CallReader, Form, Repeat
from .revisions import Era

__all__ = ["Intake"]

_NO_META = RequestMeta()
_NO_PARAMS = Raw(b"{}")
_decode_meta = msgspec.json.Decoder(RequestMeta).decode
_decode_params = msgspec.json.Decoder(Params).decode
_check = msgspec.json.Decoder(Raw).decode
_ENVELOPE = Era.ENVELOPE  # a member of an enum is 70 ns away in CPython 3.11


class Intake(Engine):
    """The part of a server's engine that requests come in by."""

    role = Role.SERVER
    profile: ServerProfile
    built_in: Mapping[str, Callable[[Any, Request], None]]
    """What answers the requests that are the engine's own affair, by method."""
    headers: Any = None
    """What a transport says of a message beside the body, which `check_transport` compares with it."""
    mirrors: Mapping[str, Any] = MappingProxyType({})
    """What it says of the arguments of some tools, by tool; `check_arguments` compares it with them."""
    _handshake_era: HandshakeEra | None = None
    _reader: CallReader | None = None

    @property
    def _envelope(self) -> EnvelopeEra:
        return self.profile.envelope_era

    @property
    def _handshake(self) -> HandshakeEra:
        if self._handshake_era is None:
            self._handshake_era = HandshakeEra(self.profile)
        return self._handshake_era

    def receive_message(self, data: bytes) -> None:
        """Take one whole JSON text; never raises for what the peer sent."""
        if self.closed:
            return
        if self._reader is None:
            self._reader = CallReader()
        self.receive_decoded(self._reader.read(data, self.limits), data)

    def _receive_request(self, envelope: Envelope, request_id: RequestId, method: str, batch: Batch | None) -> None:
        if batch is not None:
            batch.pending += 1
        profile = self.profile
        raw = _NO_PARAMS if envelope.params is UNSET else envelope.params
        read = profile.decoders.get(method)
        params: Any = None
        fault: str | None = None
        request_meta = _NO_META
        known = None
        try:
            if read is not None:
                params = read(raw)
        except DECODE_ERRORS as error:
            fault = str(error)
        context: Context | ErrorObject | None = None
        try:
            raw_meta = (_decode_params(raw) if params is None else params).meta
            if raw_meta is not UNSET:
                known = profile.envelope_era.known.get(bytes(raw_meta))
                if known is None:
                    request_meta = _decode_meta(raw_meta)
                else:
                    # The same bytes again, as from every client that sends no progress token.
                    request_meta, context = known
                    context = self.check_transport(method, request_meta, params) or context
        except DECODE_ERRORS as error:
            fault = f"_meta: {error}" if fault is None else fault
        if context is None:
            context = self._admit(method, request_meta, params)
        if batch is not None and type(context) is Context and not context.revision.batching:
            # A batch may be legal here and this member still be of the revision that has none.
            why = f"no batches in revision {context.revision.name}"
            context = ErrorObject(ErrorCode.INVALID_REQUEST, f"Invalid request: {why}")
        if type(context) is Context:
            refusal = self._refusal(context, request_id, method, request_meta, known is None, raw, params, fault)
            if refusal is None:
                request = Request(
                    request_id, method, params, context, self.principal, request_meta.progress_token, batch=batch
                )
                self._requests[request_id] = request
                answer = self.built_in.get(method)
                if answer is None:
                    # One that is answered at once cannot stand for the batch: it is gone when the reply is routed.
                    if batch is not None and batch.id is None:
                        batch.id = request_id
                    self._events.append(request)
                else:
                    answer(self, request)
                return
        else:
            refusal = context  # type: ignore[assignment]
        assert refusal is not None
        data = encode_error(request_id, refusal)
        if batch is None:
            self._outgoing.append(Outgoing(data, request_id, True, refusal.code))
        else:
            self._end_batch_member(batch, data)

    def _admit(self, method: str, request_meta: RequestMeta, params: Any) -> Context | ErrorObject:
        """Classify one message by era, whatever came before on the channel, and find its context."""
        if not self._envelope.claims(method, request_meta):
            return self._handshake.admit(method, params)
        return (
            EnvelopeEra.lacking(request_meta)
            or self.check_transport(method, request_meta, params)
            or self._envelope.admit(request_meta, getattr(params, "meta", UNSET))
        )

    def check_transport(self, method: str, request_meta: RequestMeta, params: Any) -> ErrorObject | None:
        """Compare a message with what its transport says of it; HTTP has headers to compare, pipes have none."""
        return None

    def _refusal(
        self,
        context: Context,
        request_id: RequestId,
        method: str,
        request_meta: RequestMeta,
        is_new_meta: bool,
        raw: Raw,
        params: Any,
        fault: str | None,
    ) -> ErrorObject | None:
        """Return the error of a request that has a context and still cannot be handled."""
        if request_id in self._requests:
            # "MUST NOT have been previously used by the requestor" — basic#requests; the first goes on undisturbed.
            return ErrorObject(ErrorCode.INVALID_REQUEST, "Invalid request: id is in use")
        gates = self.profile.gates[context.revision.name]
        if method not in gates:
            return ErrorObject(ErrorCode.METHOD_NOT_FOUND, "Method not found")
        extension = gates[method]
        if extension is not None:
            # What an extension adds exists only between peers that both declared it — basic/versioning#extensions
            refusal = undeclared(context, extension)
            if refusal is not None:
                return refusal
        if fault is None:
            fault = self._fault_of(raw, params, request_meta, is_new_meta)
        if fault is not None:
            return ErrorObject(ErrorCode.INVALID_PARAMS, f"Invalid params: {fault}")
        if len(self._requests) >= self.limits.requests <= self.in_flight and method not in self.built_in:
            data = {"retryable": True, "limit": self.limits.requests}
            return ErrorObject(ErrorCode.OVERLOADED, "Too many requests in flight", data)
        return self.check_arguments(params) if self.mirrors else None

    def check_arguments(self, params: Any) -> ErrorObject | None:
        """Compare the arguments of a call with what its transport says of them."""
        return None

    def _fault_of(self, raw: Raw, params: Any, request_meta: RequestMeta, is_new_meta: bool) -> str | None:
        """Return what is wrong with well-typed params: sizes, and members that appear twice."""
        limits = self.limits
        token = request_meta.progress_token
        if token is not UNSET and not (is_valid_id(token, limits) and len(str(token)) <= limits.token_bytes):
            return "progressToken out of range"
        raw_meta = params.meta
        if is_new_meta and raw_meta is not UNSET:
            twice = duplicate_member(raw_meta)
            if twice is not None:
                return f"duplicate member {twice!r}"
        if type(params) is CallToolParams:
            if len(params.name) > limits.name_bytes:
                return "name too long"
            if is_compact_call(raw, params.name, params.arguments, raw_meta):
                return None
        elif type(params) is PaginatedParams and isinstance(params.cursor, str):
            if len(params.cursor) > limits.cursor_bytes:
                return "cursor too long"
        elif type(params) is GetPromptParams and len(params.name) > limits.name_bytes:
            return "name too long"
        twice = duplicate_member(raw, *(value for value in structs.astuple(params) if isinstance(value, Raw)))
        return None if twice is None else f"duplicate member {twice!r}"

    # Calls that repeat

    def receive_decoded(self, message: Envelope | Malformed, data: bytes) -> None:
        """Take a message that a binding has decoded already, in order to know where it belongs."""
        if type(message) is not Repeat:
            super().receive_decoded(message, data)
        elif not (self.closed or self._receive_repeat(message, message.form)):
            self._receive_whole(message, data)

    def _receive_repeat(self, call: Repeat, form: Form) -> bool:
        """Take a call whose form was let in before; `False`: something may be different this time."""
        profile, request_id = self.profile, call.id
        assert request_id is not UNSET
        context, requests, raw = form.context, self._requests, call.arguments
        if form.profile is not profile or context is None:
            return False
        if context.revision.era is not _ENVELOPE and context is not self._handshake.context:
            return False
        if requests and (request_id in requests or len(requests) >= self.limits.requests):
            return False
        params: CallToolParams = form.params.__copy__()  # type: ignore[attr-defined]  # in C; `copy.copy` is not
        params.arguments = raw
        if form.headers is not self.headers:
            known = None if params.meta is UNSET else self._envelope.known.get(bytes(params.meta))
            if known is None or self.check_transport("tools/call", known[0], params) is not None:
                return False
            form.headers = self.headers
        read = profile.arguments.get(params.name)
        arguments = None
        try:
            if read is None:
                _check(raw)
            else:
                arguments = read(raw)
        except DECODE_ERRORS:
            return False
        if self.mirrors and self.check_arguments(params) is not None:
            return False
        request = Request(request_id, "tools/call", params, context, self.principal, form.progress_token)
        request.arguments = arguments
        requests[request_id] = request
        self._events.append(request)
        return True

    def _receive_whole(self, call: Repeat, data: bytes) -> None:
        """Take a call that repeats an earlier one as if it did not; if it is let in, so are those like it."""
        before = len(self._events)
        super().receive_decoded(decode(data, self.limits), data)
        request = self._events[-1] if len(self._events) > before else None
        # If what stood in their place were its arguments; else it is of another form, and merely ends like this one.
        if type(request) is Request and getattr(request.params, "arguments", UNSET) == call.arguments:
            form: Form = call.form
            form.profile, form.context, form.headers = self.profile, request.context, self.headers
            form.progress_token = request.progress_token
