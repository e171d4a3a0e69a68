"""The server role: what one server is (`ServerProfile`) and the machine that serves one channel (`ServerEngine`).

What comes in walks through `intake`; here it is answered.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType

from . import meta, model
from .capabilities import ClientCapabilities, has
from .eras import (
    LOG_LEVELS,
    EnvelopeEra,
    HandshakeEra,
    Prepared,
    lacking_for,
    tasks_declared,
    undeclared,
)
from .errors import ErrorCode, ErrorObject, LocalProtocolError, RemoteProtocolError
from .events import Call, Context, InputRequest, Notification, Outgoing, Request, RequestState, Result
from .intake import Intake
from .jsonrpc import (
    RequestId,
    encode_notification,
    encode_result,
)
from .methods import TASKS_EXTENSION
from .params import (
    AcknowledgedParams,
    CancelledParams,
    ListenParams,
    LogParams,
)
from .profiles import ServerProfile
from .results import DiscoverResult, EmptyResult, InitializeResult, ListenResult
from .revisions import Era
from .sharing import SPAN, HandshakeRecord, HandshakeState
from .subscriptions import ChangeNotice, narrow
from .tasks import Dialect, Holder
from .types import LoggingLevel, SubscriptionFilter

__all__ = ["Prepared", "ServerEngine", "ServerProfile"]


def _cancelled(request_id: RequestId, reason: str | None) -> CancelledParams:
    return CancelledParams(request_id=request_id, reason=UNSET if reason is None else reason)


# A member of an enum is 70 ns away in CPython 3.11.
_OPEN, _ENVELOPE = RequestState.OPEN, Era.ENVELOPE


class ServerEngine(Intake):
    """The protocol machine that serves one channel, in both eras at once."""

    _listeners: dict[RequestId, tuple[Request, SubscriptionFilter]]
    _announced: set[tuple[RequestId | None, ChangeNotice]]

    # What comes in

    def _receive_other_notification(self, method: str, params: Any) -> None:
        self._handshake.advance(method)
        for notice in self._handshake.release():
            self._handshake.publish(self, notice)
        self._events.append(Notification(method, params, self._handshake.context))

    def _settle(self, call: Call, raw: Raw) -> None:
        self._finish(call)
        self._events.append(Result(call, raw))

    def _abandon(self, call: Call, reason: str | None) -> None:
        self._notify("notifications/cancelled", _cancelled(call.id, reason), related_to=call.related_to)

    def _answers_malformed(self) -> bool:
        return True

    def _cancel_request(self, request: Request, reason: str | None) -> None:
        if request.is_listen:
            del self._listeners[request.id]
        super()._cancel_request(request, reason)
        # Questions asked on behalf of a withdrawn request have no one left to hear the answer.
        for call in [call for call in self._calls.values() if call.related_to == request.id]:
            self.cancel(call, "the request was cancelled")
        self._close_if_done()

    def receive_end_of_input(self) -> None:
        """Take the end of what the client sends: every request read is still answered, then the engine closes."""
        if self.closed or self._is_ending:
            return
        self._is_ending = True
        lost = ErrorObject(ErrorCode.INTERNAL_ERROR, "connection closed")
        for call in list(self._calls.values()):
            self._lose(call, lost)  # nobody is left to answer what we ask
        self.end_subscriptions()
        self._close_if_done()

    # What goes out

    def _era_of(self, context: Context) -> HandshakeEra | EnvelopeEra:
        return self._envelope if context.revision.era is _ENVELOPE else self._handshake

    def send_result(self, request: Request, result: Struct | dict[str, Any] | Raw | Prepared) -> None:
        """Answer a request; nothing is sent once it was cancelled.

        Args:
            request: as reported.
            result: the method's result struct (newest shape, stepped down as the revision needs), or a mapping or raw
                JSON object that is sent as it is plus what the envelope era adds.

        Raises:
            LocalProtocolError: the request is already answered.
            TypeError: the result holds a value that JSON has no form for; the request stays open.
        """
        if request.state is not _OPEN:
            self._take(request)
            return
        era = self.profile.envelope_era if request.context.revision.era is _ENVELOPE else self._handshake
        data = encode_result(request.id, *era.seal(request, result))
        self._settle_request(request)
        self._reply(request, data)

    def seal(self, request: Request, result: Struct | dict[str, Any] | Raw | Prepared) -> Raw:
        """Return a result as `send_result` would write it, for a task to keep."""
        return Raw(b"".join(self._era_of(request.context).seal(request, result)))

    def send_log(
        self,
        request: Request | None,
        level: LoggingLevel,
        data: Any,
        logger: str | None = None,
        *,
        meta: Raw | UnsetType = UNSET,
    ) -> bool:
        """Log to the client if it wants to hear this level; returns whether anything was sent.

        Args:
            request: the request being handled; `None` logs outside any, which only the handshake era has.
            meta: the notification's `_meta`.
        """
        if level not in LOG_LEVELS:
            raise LocalProtocolError(f"log level {level!r} is not one of {', '.join(LOG_LEVELS)}")
        context = self._handshake.context if request is None else request.context
        if context is None or (request is not None and (not request.is_open or request.is_listen)):
            return False
        if not has(self.profile.capabilities, "logging") or not self._era_of(context).may_log(context, level):
            return False
        params = LogParams(level=level, data=data, logger=UNSET if logger is None else logger, meta=meta)
        self._notify("notifications/message", params, related_to=None if request is None else request.id)
        return True

    def missing_for(self, request: Request, inputs: Mapping[str, InputRequest]) -> dict[str, Any]:
        """Return the `requiredCapabilities` object of what the client lacks for these inputs; `{}`: nothing."""
        return lacking_for(request.context, inputs)

    def ask(
        self,
        request: Request,
        inputs: Mapping[str, InputRequest],
        state: bytes = b"",
        *,
        now: float = 0.0,
        deadline: float | None = None,
    ) -> list[Call]:
        """Ask the client for input while handling a request.

        Args:
            request: an open request; in the envelope era it is answered by this and the client retries it.
            inputs: what is asked, by key; an empty mapping with state asks for a plain retry.
            state: what the retry shall bring back, sealed; only the envelope era needs it.
            now: wall-clock seconds, for the seal's expiry.
            deadline: for the calls, where calls are made.

        Returns:
            One open call per input, in order; `[]` when the request was answered instead.

        Raises:
            LocalProtocolError: the client lacks a capability, the method cannot ask, or the request is not open.
        """
        if not request.is_open:
            raise LocalProtocolError(f"request {request.id!r} is not open")
        lacking = self.missing_for(request, inputs)
        if lacking:
            raise LocalProtocolError(f"the client did not declare {', '.join(lacking)}")
        return self._era_of(request.context).ask(self, request, inputs, state, deadline=deadline, now=now)

    def read_state(self, request: Request, now: float) -> bytes:
        """Return the state that an earlier `ask` sealed for this request, `b""` when there is none.

        Raises:
            RemoteProtocolError: the state is not ours for this principal, method and params, or expired.
        """
        text = getattr(request.params, "request_state", UNSET)
        if text is UNSET:
            return b""
        if self.profile.sealer is None:
            raise RemoteProtocolError(ErrorObject(ErrorCode.INVALID_PARAMS, "requestState is invalid or expired"))
        return self.profile.sealer.open(
            text, principal=request.principal, method=request.method, params=request.params, now=now
        )

    def publish(self, notice: ChangeNotice) -> None:
        """Tell this channel's client of a change, if it may hear it: each era's way."""
        if not self.closed:
            self._handshake.publish(self, notice)
            self._envelope.publish(self, notice)

    def end_subscriptions(self) -> None:
        """End every live `subscriptions/listen` gracefully, as on shutdown."""
        for request, _ in list(self._listeners.values()):
            self._end_listen(request)

    def _end_listen(self, request: Request) -> None:
        # The specification says both: cancellation "MUST send notifications/cancelled", subscriptions "SHOULD respond
        # … with a completion result". Peers accept the result; the notification comes first where the profile says so.
        del self._listeners[request.id]
        if self.profile.cancels_listens:
            self._notify("notifications/cancelled", _cancelled(request.id, None), related_to=request.id)
        self.send_result(request, ListenResult(meta={meta.SUBSCRIPTION_ID: request.id}))

    # For sessions that several engines serve

    @property
    def handshake_changes(self) -> int:
        """How often `handshake_state` has come to be another by what the client sent."""
        return self._handshake.changes

    def handshake_state(self) -> HandshakeState:
        """Return what changes in the handshake."""
        return self._handshake.export()

    def handshake_record(self, born: float) -> HandshakeRecord:
        """Return what the handshake settled.

        Args:
            born: when that was, in wall-clock seconds.

        Raises:
            LocalProtocolError: there was no handshake.
        """
        context = self._handshake.context
        if context is None or context.peer is None or not isinstance(context.capabilities, ClientCapabilities):
            raise LocalProtocolError("there was no handshake that another engine could go on with")
        return HandshakeRecord(
            revision=context.revision.name,
            peer=context.peer,
            capabilities=context.capabilities,
            principal=self.principal,
            born=born,
        )

    def restore_handshake(self, record: HandshakeRecord, state: HandshakeState, number: int) -> bool:
        """Go on with a handshake of another engine; returns whether its revision is still served.

        Args:
            record, state: what it settled, and what has changed since.
            number: tells the engines of the session apart, so that no two of them call the client by one id.
        """
        revision = self.profile.handshakes.get(record.revision)
        if revision is None:
            return False
        self.principal = record.principal
        self._revision = revision
        self._handshake.context = Context(
            revision=revision, peer=record.peer, capabilities=record.capabilities, can_call_peer=True
        )
        self._handshake.restore(state)
        self._last_id = number * SPAN
        return True

    def restore_state(self, state: HandshakeState) -> None:
        """Take what another engine of the session was told, and say what had to wait for it."""
        self._handshake.restore(state)
        for notice in self._handshake.release():
            self._handshake.publish(self, notice)

    # For the eras

    @property
    def listeners(self) -> list[tuple[Request, SubscriptionFilter]]:
        """The live subscriptions and what each honours."""
        return list(self._listeners.values())

    def peek_id(self) -> int:
        """Return the id the next call will get."""
        return self._last_id + 1

    def call_peer(self, method: str, body: bytes, *, related_to: RequestId | None, deadline: float | None) -> Call:
        """Send a request to the client."""
        if not self._calls:
            self._calls = {}
        call = self._new_call(method, body, related_to=related_to)
        if deadline is not None:
            self._arm(call, deadline)
        self._emit_request(call, b"" if body == b"{}" else body)
        return call

    def ping(self, *, deadline: float | None = None) -> Call:
        """Ask the client of a handshake connection for a sign of life.

        Raises:
            LocalProtocolError: there is no handshake connection.
        """
        if self._handshake.context is None:
            raise LocalProtocolError("there is no ping without a handshake")
        self.check_room()
        return self.call_peer("ping", b"", related_to=None, deadline=deadline)

    def reply(self, request: Request, data: bytes) -> None:
        """Send an encoded response to an open request."""
        self._take(request)
        self._reply(request, data)

    def announce(self, notice: ChangeNotice, method: str, body: bytes, *, related_to: Request | None = None) -> None:
        """Send a change notification, unless the same one is still waiting to be sent."""
        stream = None if related_to is None else related_to.id
        if (stream, notice) not in self._announced:
            if not self._announced:
                self._announced = set()
            self._announced.add((stream, notice))
            self._outgoing.append(Outgoing(encode_notification(method, body), stream))

    # Built-in answers

    def _answer_initialize(self, request: Request) -> None:
        context = request.context
        self._handshake.advance(request.method)
        self._handshake.context = context
        self._revision = context.revision
        result = InitializeResult(
            protocol_version=context.revision.name,
            capabilities=self.profile.capabilities,
            server_info=self.profile.info,
            instructions=UNSET if self.profile.instructions is None else self.profile.instructions,
        )
        self.send_result(request, result)

    def _answer_ping(self, request: Request) -> None:
        self.send_result(request, EmptyResult())

    def _answer_discover(self, request: Request) -> None:
        profile = self.profile
        result = DiscoverResult(
            supported_versions=[r.name for r in reversed(profile.revisions)],
            capabilities=profile.capabilities,
            instructions=UNSET if profile.instructions is None else profile.instructions,
        )
        self.send_result(request, result)

    def _answer_set_level(self, request: Request) -> None:
        self._handshake.log_level = request.params.level
        self._handshake.changes += 1
        self.send_result(request, EmptyResult())

    def _answer_subscribe(self, request: Request) -> None:
        watched = self._handshake.watched
        if len(watched) >= self.limits.subscription_uris and request.params.uri not in watched:
            why = f"more than {self.limits.subscription_uris} subscriptions"
            self.send_error(request, ErrorObject(ErrorCode.INVALID_PARAMS, f"Invalid params: {why}"))
            return
        watched.add(request.params.uri)
        self._handshake.changes += 1
        self.send_result(request, EmptyResult())

    def _answer_unsubscribe(self, request: Request) -> None:
        self._handshake.watched.discard(request.params.uri)
        self._handshake.changes += 1
        self.send_result(request, EmptyResult())

    def _answer_listen(self, request: Request) -> None:
        params = request.params
        assert isinstance(params, ListenParams)
        asked = params.notifications
        declares_tasks = tasks_declared(request.context)
        error = None
        if asked.task_ids is not UNSET and not declares_tasks:
            error = undeclared(request.context, f"extensions:{TASKS_EXTENSION}")
        elif any(
            keys is not UNSET and len(keys) > self.limits.subscription_uris
            for keys in (asked.resource_subscriptions, asked.task_ids)
        ):
            why = f"more than {self.limits.subscription_uris} entries in one filter"
            error = ErrorObject(ErrorCode.INVALID_PARAMS, f"Invalid params: {why}")
        elif len(self._listeners) >= self.limits.subscriptions:
            why = f"more than {self.limits.subscriptions} subscriptions"
            error = ErrorObject(ErrorCode.INVALID_PARAMS, f"Invalid params: {why}")
        if error is not None:
            self.send_error(request, error)
            return
        serves_tasks = declares_tasks and has(self.profile.capabilities, f"extensions:{TASKS_EXTENSION}")
        honoured = narrow(asked, self.profile.capabilities, tasks=serves_tasks)
        known = self.profile.tasks
        if known is not None and honoured.task_ids is not UNSET:
            holder = Holder(request.principal, Dialect.EXTENSION)
            honoured.task_ids = [task_id for task_id in honoured.task_ids if known.knows(task_id, holder)]
        request.is_listen = True
        if not self._listeners:
            self._listeners = {}
        self._listeners[request.id] = (request, honoured)
        # "MUST send notifications/subscriptions/acknowledged as the first message" — basic/patterns/subscriptions
        tag = Raw(model.encode({meta.SUBSCRIPTION_ID: request.id}))
        acknowledged = AcknowledgedParams(notifications=honoured, meta=tag)
        self._notify("notifications/subscriptions/acknowledged", acknowledged, related_to=request.id)

    def _close(self, error: ErrorObject | None) -> None:
        super()._close(error)
        self._listeners = {}


ServerEngine.built_in = {
    "initialize": ServerEngine._answer_initialize,
    "ping": ServerEngine._answer_ping,
    "server/discover": ServerEngine._answer_discover,
    "logging/setLevel": ServerEngine._answer_set_level,
    "resources/subscribe": ServerEngine._answer_subscribe,
    "resources/unsubscribe": ServerEngine._answer_unsubscribe,
    "subscriptions/listen": ServerEngine._answer_listen,
}
