"""The client role: what one client is (`ClientProfile`) and the machine that speaks to one server (`ClientEngine`).

`start` probes for the era unless it is known, ends in `Ready` or `Closed`; then calls may be made.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from . import meta, model
from .capabilities import ServerCapabilities, has
from .engine import Engine, encode_meta, splice_meta
from .eras import LOG_LEVELS
from .errors import ErrorCode, ErrorObject, LocalProtocolError, RemoteProtocolError
from .events import (
    Batch,
    Call,
    Change,
    ChangeKind,
    Context,
    Failure,
    InputRequired,
    Log,
    Notification,
    Outgoing,
    Ready,
    Request,
    Result,
    Subscribed,
    Subscription,
    TimedOut,
    Unsubscribed,
    Violation,
)
from .jsonrpc import DECODE_ERRORS, Envelope, RequestId, encode_error, encode_notification, encode_result
from .methods import DECODERS, METHODS, Role
from .negotiation import NEGOTIATION, Evidence, Negotiation, read_discover, read_initialize, read_offer, weigh
from .outcomes import outcome_of, retry_members
from .params import (
    AcknowledgedParams,
    CancelledParams,
    DetailedTaskParams,
    ElicitParams,
    InitializeParams,
    ListenParams,
    LogParams,
    ResourceUpdatedParams,
    SubscribeParams,
)
from .profiles import ClientProfile
from .results import EmptyResult
from .revisions import Era, Revision
from .subscriptions import NOTIFICATION_OF, ChangeNotice, narrow
from .types import LoggingLevel, SubscriptionFilter
from .watches import Watches, tag_of

__all__ = ["ClientEngine", "ClientProfile"]

_KIND_OF = {method: kind for kind, method in NOTIFICATION_OF.items()}


def _refused(code: int, message: str, data: Any = UNSET) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorObject(code, message, data))


class ClientEngine(Engine):
    """The protocol machine that speaks to one server."""

    role = Role.CLIENT
    profile: ClientProfile

    def __init__(self, profile: ClientProfile) -> None:
        super().__init__(profile)
        self._calls, self._renewed, self.state = {}, {}, Negotiation.IDLE
        self.context: Context | None = None
        """What is known of the server once `Ready`."""
        self.speaking: Revision = profile.revisions[-1]
        """The revision that requests are made in just now."""
        self.is_silence_evidence = bool(profile.handshakes)
        """A probe that is not answered in time proves a handshake server; over HTTP it proves nothing."""
        self._tried: dict[str, int] = {}
        self._probe: Call | None = None
        self._late_probe: Call | None = None
        self._start_deadline: float | None = None
        self._probe_deadline: float | None = None
        self._callable: set[str] = set()  # methods that were found to be, once `Ready`
        self._watches = Watches()
        self._followed: dict[RequestId, Call] = {}
        """Ended calls whose task may still report progress."""

    # Negotiation

    def start(
        self,
        deadline: float | None = None,
        *,
        era: Era | None = None,
        probe_deadline: float | None = None,
    ) -> None:
        """Begin: probe for the server's era, or use the era found before.

        Args:
            deadline: when to give up; then the engine ends in `Closed`.
            era: the verdict of an earlier connection to the same server, to save the probe.
            probe_deadline: when silence counts as the answer of a handshake server; default `deadline`.

        Raises:
            LocalProtocolError: already started, or the era is not spoken by the profile.
        """
        if self.state is not Negotiation.IDLE:
            raise LocalProtocolError("already started")
        if era is None:
            era = Era.ENVELOPE if self.profile.envelopes else Era.HANDSHAKE
        if not (self.profile.envelopes if era is Era.ENVELOPE else self.profile.handshakes):
            raise LocalProtocolError(f"the profile speaks no revision of the {era.value} era")
        self._start_deadline = deadline
        self._probe_deadline = deadline if probe_deadline is None else probe_deadline
        if era is Era.ENVELOPE:
            self._send_probe(self.profile.envelopes[-1])
        else:
            self._send_initialize(self.profile.handshakes[-1])

    def _send_probe(self, revision: Revision) -> None:
        self.state = Negotiation.PROBING
        self.speaking = revision
        self._tried[revision.name] = self._tried.get(revision.name, 0) + 1
        # Without a handshake to fall back on, silence is no verdict, only a failure.
        deadline = self._probe_deadline if self.is_silence_evidence else self._start_deadline
        self._probe = self._send_internal("server/discover", b"{}", deadline)

    def _send_initialize(self, revision: Revision) -> None:
        self.state = Negotiation.HANDSHAKING
        self.speaking = revision
        params = InitializeParams(
            protocol_version=revision.name,
            capabilities=self.adapt(self.profile.capabilities, revision),
            client_info=self.adapt(self.profile.info, revision),
        )
        self._probe = self._send_internal("initialize", model.encode(params), self._start_deadline)

    def _send_internal(self, method: str, body: bytes, deadline: float | None) -> Call:
        call = self._new_call(method, body)
        return self._emit(call, self._stamped(call), deadline)

    def _weigh_result(self, call: Call, raw: Raw) -> None:
        """Take the answer to a probe or to `initialize`."""
        read = read_initialize if call.method == "initialize" else read_discover
        verdict = read(raw, self.profile.revisions)
        if verdict.context is not None:
            self.context = verdict.context
            self.speaking = verdict.context.revision
            if verdict.evidence is Evidence.INITIALIZED:
                self._revision = self.speaking
                self._notify("notifications/initialized", None)
        self._conclude(verdict.evidence, verdict.revision, verdict.why)

    def _weigh_error(self, call: Call, error: ErrorObject) -> None:
        offered = read_offer(error)
        if offered is not None:
            evidence, revision = weigh(offered, self.profile.revisions, self._tried)
            if evidence is Evidence.LEGACY and call.method == "initialize":
                evidence = Evidence.REFUSED
            self._conclude(evidence, revision, error.message)
        elif call.method == "initialize":
            self._conclude(Evidence.REFUSED, None, f"initialize failed: {error.message} ({error.code})")
        else:
            self._conclude(Evidence.LEGACY, None)

    def _conclude(self, evidence: Evidence, revision: Revision | None, why: str = "") -> None:
        """Follow the negotiation table."""
        if evidence is Evidence.LEGACY and not self.profile.handshakes:
            evidence = Evidence.DISJOINT
            why = "the server speaks only revisions with a handshake"
        self.state = NEGOTIATION[self.state, evidence]
        if self.state is Negotiation.PROBING:
            assert revision is not None
            self._send_probe(revision)
        elif self.state is Negotiation.HANDSHAKING:
            self._late_probe = self._probe
            self._send_initialize(revision or self.profile.handshakes[-1])
        elif self.state is Negotiation.READY:
            if self._late_probe is not None:
                self._finish(self._late_probe)  # whatever it brings now, it decides nothing
            self._probe = self._late_probe = None
            assert self.context is not None
            self._events.append(Ready(self.context))
        else:
            spoken = ", ".join(r.name for r in self.profile.revisions)
            reason = why or "no common protocol revision"
            self._close(ErrorObject(ErrorCode.UNSUPPORTED_VERSION, f"{reason}; spoken here: {spoken}"))

    # What comes in

    def _settle(self, call: Call, raw: Raw) -> None:
        if call is self._probe:
            self._finish(call)
            self._weigh_result(call, raw)
        elif call is self._late_probe:
            self._finish(call)
            self._adopt_late(call, raw)
        elif isinstance(call, Subscription):
            self._finish(call)
            self._drop(call, None)
        elif self.speaking.result_types:
            self._settle_typed(call, raw)
        else:
            self._finish(call)
            if call.as_task and call.progress_token is not UNSET and len(self._followed) < self.limits.calls:
                self._followed[call.progress_token] = call
            self._deliver(call, raw, "complete")

    def _adopt_late(self, call: Call, raw: Raw) -> None:
        """Use a probe's answer that came after the handshake had begun: the server was slow, not old."""
        self._late_probe = None
        verdict = read_discover(raw, self.profile.revisions)
        if self.state is Negotiation.HANDSHAKING and verdict.evidence is Evidence.DISCOVERED:
            assert self._probe is not None
            self._finish(self._probe)
            self._weigh_result(call, raw)

    def _settle_typed(self, call: Call, raw: Raw) -> None:
        """End a call by what its result says it is."""
        self._finish(call)
        outcome = outcome_of(call, raw, takes_tasks=self.profile.takes_tasks, most_rounds=self.limits.input_rounds)
        if isinstance(outcome, Result):
            self._deliver(call, raw, outcome.result_type)
        else:
            self._events.append(outcome)

    def _deliver(self, call: Call, raw: Raw, kind: str) -> None:
        if self._watches.is_own(call):
            self._settle_watch(call, is_watched=True)
        else:
            self._events.append(Result(call, raw, kind))

    def _fail(self, call: Call, error: ErrorObject, *, is_local: bool = False) -> None:
        self._finish(call)
        if call is self._probe:
            self._weigh_error(call, error)
        elif call is self._late_probe:
            self._late_probe = None
        elif isinstance(call, Subscription):
            self._drop(call, error)
        elif self._watches.is_own(call):
            self._settle_watch(call, is_watched=False)
        else:
            self._events.append(Failure(call, error, is_local))

    def _expire_call(self, call: Call, now: float) -> None:
        if call is self._probe and call.method == "server/discover" and self.is_silence_evidence:
            # Its id stays known: a late answer is told apart from the answer to `initialize`, and used.
            self._conclude(Evidence.LEGACY, None)
            return
        self._finish(call)
        if call is self._probe:
            self._close(ErrorObject(ErrorCode.INTERNAL_ERROR, f"{call.method} was not answered in time"))
            return
        self._abandon(call, "timed out")
        if isinstance(call, Subscription):
            self._drop(call, ErrorObject(ErrorCode.INTERNAL_ERROR, "subscription was not acknowledged in time"))
        elif self._watches.is_own(call):
            self._settle_watch(call, is_watched=False)
        else:
            self._events.append(TimedOut(call))

    def _lose(self, call: Call, error: ErrorObject) -> None:
        self._finish(call)
        if isinstance(call, Subscription):
            self._drop(call, error)
        elif call is not self._probe and call is not self._late_probe and not self._watches.is_own(call):
            self._events.append(Failure(call, error, is_local=True))

    def _receive_request(self, envelope: Envelope, request_id: RequestId, method: str, batch: Batch | None) -> None:
        revision = self._revision
        if revision is None and method == "ping" and self.state is Negotiation.HANDSHAKING:
            # "prior to … initialize … other than pings" — basic/lifecycle#initialization: always answered
            self._outgoing.append(Outgoing(encode_result(request_id, b"{}"), request_id, True))
            return
        if revision is None:
            # "servers MUST NOT send requests", and a client answers nothing there — 2026-07-28 basic/transports/stdio
            self._events.append(Violation(ErrorObject(ErrorCode.INVALID_REQUEST, f"request {method} from a server")))
            return
        if batch is not None:
            batch.pending += 1
        assert self.context is not None
        try:
            params, token = self._examine(revision, request_id, method, envelope.params)
        except RemoteProtocolError as refused:
            data = encode_error(request_id, refused.error)
            if batch is None:
                self._outgoing.append(Outgoing(data, request_id, True))
            else:
                self._end_batch_member(batch, data)
            return
        request = Request(request_id, method, params, self.context, progress_token=token, batch=batch)
        self._requests[request_id] = request
        if method == "ping":
            self.send_result(request, EmptyResult())
        else:
            self._events.append(request)

    def _examine(
        self, revision: Revision, request_id: RequestId, method: str, raw: Raw | UnsetType
    ) -> tuple[Any, int | str | UnsetType]:
        """Return the params and the progress token of a server's request.

        Raises:
            RemoteProtocolError: with the error the request gets.
        """
        spec = METHODS.get(method)
        if request_id in self._requests:
            raise _refused(ErrorCode.INVALID_REQUEST, "Invalid request: id is in use")
        if (
            spec is None
            or not (spec.is_request and spec.sender & Role.SERVER and method in revision.methods)
            or not (spec.requires is None or has(self.profile.capabilities, spec.requires))
        ):
            raise _refused(ErrorCode.METHOD_NOT_FOUND, "Method not found")
        try:
            params: Any = DECODERS[method](b"{}" if raw is UNSET else raw)
            request_meta = msgspec.json.decode(b"{}" if params.meta is UNSET else params.meta, type=meta.RequestMeta)
        except DECODE_ERRORS as error:
            raise _refused(ErrorCode.INVALID_PARAMS, f"Invalid params: {error}") from None
        path = "elicitation.url" if getattr(params, "mode", None) == "url" else "elicitation.form"
        if isinstance(params, ElicitParams) and not has(self.profile.capabilities, path):
            # "Clients MUST return an error … if the mode is not declared" — 2025-11-25 client/elicitation
            raise _refused(ErrorCode.INVALID_PARAMS, f"Invalid params: {path} is not declared")
        if len(self._requests) >= self.limits.requests:
            data = {"retryable": True, "limit": self.limits.requests}
            raise _refused(ErrorCode.OVERLOADED, "Too many requests in flight", data)
        return params, request_meta.progress_token

    def _answers_malformed(self) -> bool:
        # Noise on a server's stdout is skipped, never answered: an answer may be a response nobody asked for.
        return False

    def _receive_cancelled(self, params: CancelledParams) -> None:
        call = None if params.request_id is UNSET else self._calls.get(params.request_id)
        if isinstance(call, Subscription) and self._revision is None:
            self._finish(call)
            self._drop(call, None)
        else:
            super()._receive_cancelled(params)

    def _receive_other_notification(self, method: str, params: Any) -> None:
        if isinstance(params, LogParams):
            logger = params.logger if isinstance(params.logger, str) else None
            self._events.append(Log(params.level, params.data, logger))
        elif isinstance(params, AcknowledgedParams):
            self._receive_acknowledged(params)
        elif method in _KIND_OF:
            self._receive_change(_KIND_OF[method], params)
        else:
            self._events.append(Notification(method, params, self.context))

    def _subscription_of(self, params: Any) -> Subscription | None:
        tag = tag_of(params.meta)
        call = None if tag is None else self._calls.get(tag)
        return call if isinstance(call, Subscription) else None

    def _receive_acknowledged(self, params: AcknowledgedParams) -> None:
        subscription = self._subscription_of(params)
        if subscription is None or subscription.is_acknowledged:
            self._events.append(Violation(ErrorObject(ErrorCode.INVALID_PARAMS, "acknowledgement of no subscription")))
            return
        subscription.is_acknowledged = True
        subscription.filter = params.notifications
        self._deadlines.disarm(subscription)
        self._events.append(Subscribed(subscription))

    def _receive_change(self, kind: ChangeKind, params: Any) -> None:
        uri = params.uri if isinstance(params, ResourceUpdatedParams) else None
        if self._revision is not None:
            hearers = self._watches.hearers(ChangeNotice(kind, uri))
            for subscription in hearers or [None]:  # type: ignore[list-item]
                self._events.append(Change(kind, subscription, uri, params))
            return
        tagged = self._subscription_of(params)
        if tagged is None or not tagged.is_acknowledged:
            why = "change for no subscription" if tagged is None else "change notification before its acknowledgement"
            self._events.append(Violation(ErrorObject(ErrorCode.INVALID_PARAMS, why)))
            return
        if isinstance(params, DetailedTaskParams):
            uri = params.task_id
        self._events.append(Change(kind, tagged, uri, params))

    # What goes out

    def send_request(
        self,
        method: str,
        params: Struct | None = None,
        *,
        deadline: float | None = None,
        progress: bool = False,
        meta: Mapping[str, Any] | None = None,
        log_level: LoggingLevel | None = None,
    ) -> Call:
        """Make a call.

        Args:
            method, params: any request a client may send, and the method's struct (without `_meta`).
            deadline: when to withdraw it and report `TimedOut`.
            progress, meta: ask for progress notifications; further `_meta` members.
            log_level: least level of log messages wanted for this call (envelope era).

        Raises:
            LocalProtocolError: not `Ready`, or the server did not declare what the method needs, or the negotiated
                revision has no such method, or too many calls are in flight.
        """
        self._check_callable(method)
        self.check_room()
        if log_level is not None and log_level not in LOG_LEVELS:
            raise LocalProtocolError(f"log level {log_level!r} is not one of {', '.join(LOG_LEVELS)}")
        body = b"{}" if params is None else model.encode(self.adapt(params, self.speaking))
        spec = METHODS.get(method)
        name = getattr(params, spec.mirror, None) if spec is not None and spec.mirror is not None else None
        as_task = self.speaking.task_params and getattr(params, "task", UNSET) is not UNSET
        call = self._new_call(
            method, body, progress=progress, name=name, meta=meta, log_level=log_level, as_task=as_task
        )
        return self._emit(call, self._stamped(call), deadline)

    def _emit(self, call: Call, params: bytes, deadline: float | None) -> Call:
        if deadline is not None:
            self._arm(call, deadline)
        self._emit_request(call, params)
        return call

    def _check_callable(self, method: str) -> None:
        if method in self._callable:
            return
        if self.state is not Negotiation.READY or self.closed or self.context is None:
            raise LocalProtocolError("not ready: wait for the Ready event")
        assert isinstance(self.context.capabilities, ServerCapabilities)
        refusal = self.profile.refusal(method, self.speaking, self.context.capabilities)
        if refusal is not None:
            raise LocalProtocolError(refusal)
        if method in METHODS:  # which are so many, and no more
            self._callable.add(method)

    def _stamped(self, call: Call) -> bytes:
        """Return a call's params with the `_meta` that its era and its caller want."""
        members = self.profile.stamp(self.speaking)
        own: dict[str, Any] = dict(call.meta) if call.meta else {}
        if call.log_level is not None and self.speaking.era is Era.ENVELOPE:
            own[meta.LOG_LEVEL] = call.log_level
        if own or call.progress_token is not UNSET:
            extra = encode_meta(own, call.progress_token)
            members = b"%b,%b" % (members, extra) if members else extra
        body = splice_meta(call.body, members)
        return b"" if body == b"{}" else body

    def answer(
        self, needed: InputRequired, responses: Mapping[str, Struct | Raw], *, deadline: float | None = None
    ) -> Call:
        """Continue a call that needs input: the same request under a new id, with the responses and the state given.

        Args:
            needed: as reported.
            responses: one bare result per key that was asked for.

        Raises:
            LocalProtocolError: keys differ from those asked for, or the engine is closed.
        """
        if responses.keys() != needed.requests.keys():
            raise LocalProtocolError(f"answer exactly {sorted(needed.requests)}, not {sorted(responses)}")
        self._check_callable(needed.call.method)
        self.check_room()
        before = needed.call
        call = self._new_call(
            before.method,
            before.body,
            progress=before.progress_token is not UNSET,
            name=before.name,
            rounds=before.rounds + 1,
            meta=before.meta,
            log_level=before.log_level,
        )
        return self._emit(call, self._stamped(call)[:-1] + retry_members(needed, responses) + b"}", deadline)

    def send_result(self, request: Request, result: Struct | Raw) -> None:
        """Answer a request of the server's; nothing is sent once it was cancelled."""
        if self._take(request):
            body = model.encode(self.adapt(result, request.context.revision))
            self._reply(request, encode_result(request.id, body))

    def announce_roots(self) -> None:
        """Tell a handshake server that the roots changed, if that was declared; the envelope era asks each time."""
        if self._revision is not None and has(self.profile.capabilities, "roots.listChanged"):
            self._notify("notifications/roots/list_changed", None)

    def listen(self, filter: SubscriptionFilter, *, deadline: float | None = None) -> Subscription:
        """Subscribe to changes; `Subscribed` reports what the server honours, then come `Change` events.

        In the handshake era list changes come unasked; resources are watched with one `resources/subscribe` each.
        """
        if self.state is not Negotiation.READY or self.closed:
            raise LocalProtocolError("not ready: wait for the Ready event")
        if self._revision is not None:
            return self._listen_by_handshake(filter, deadline)
        self.check_room()
        body = model.encode(ListenParams(notifications=filter))
        self._last_id += 1
        subscription = Subscription(self._last_id, "subscriptions/listen", body, filter=filter)
        self._calls[subscription.id] = subscription
        self._watches.subscriptions.append(subscription)
        if deadline is not None:
            self._arm(subscription, deadline)
        self._emit_request(subscription, self._stamped(subscription))
        return subscription

    def _listen_by_handshake(self, asked: SubscriptionFilter, deadline: float | None) -> Subscription:
        assert self.context is not None and isinstance(self.context.capabilities, ServerCapabilities)
        honoured = narrow(asked, self.context.capabilities, tasks=False)
        uris = [] if honoured.resource_subscriptions is UNSET else honoured.resource_subscriptions
        uris = self._watches.unwatched(uris)
        self.check_room(len(uris))
        # An id of its own, though nothing on the wire carries it.
        self._last_id += 1
        subscription = Subscription(self._last_id, "subscriptions/listen", filter=honoured)
        self._watches.subscriptions.append(subscription)
        for uri in uris:
            body = model.encode(SubscribeParams(uri=uri))
            call = self._send_internal("resources/subscribe", body, deadline)
            self._watches.waiting[call.id] = subscription
        if self._watches.acknowledge(subscription):
            self._events.append(Subscribed(subscription))
        return subscription

    def _settle_watch(self, call: Call, *, is_watched: bool) -> None:
        subscription = self._watches.settle(call, is_watched=is_watched)
        if subscription is not None:
            self._events.append(Subscribed(subscription))

    def unlisten(self, subscription: Subscription, reason: str | None = None) -> None:
        """End a subscription; `Unsubscribed` is not reported for it. A subscription that ended is left alone."""
        if not self._watches.remove(subscription):
            return
        if self._revision is None:
            super().cancel(subscription, reason)
            return
        subscription.is_open = False
        for uri in self._watches.release(subscription):
            body = model.encode(SubscribeParams(uri=uri))
            self._watches.waiting[self._send_internal("resources/unsubscribe", body, None).id] = None

    def renew(self, call: Call, data: bytes) -> bytes:
        """Give an open call another id; a subscription waits for its acknowledgement again."""
        old, data = call.id, super().renew(call, data)
        if isinstance(call, Subscription):
            call.is_acknowledged = False
        self._watches.renew(old, call.id)
        return data

    def _drop(self, subscription: Subscription, error: ErrorObject | None) -> None:
        subscription.is_open = False
        self._watches.remove(subscription)
        self._events.append(Unsubscribed(subscription, error))

    def cancel(self, call: Call, reason: str | None = None) -> None:
        """Withdraw a call; its answer, should one come, is ignored. A finished call is left alone.

        Raises:
            LocalProtocolError: `initialize` is never cancelled; close the connection instead.
        """
        if isinstance(call, Subscription):
            self.unlisten(call, reason)
        elif call.method in METHODS and not METHODS[call.method].cancellable:
            raise LocalProtocolError(f"{call.method} cannot be cancelled")
        else:
            super().cancel(call, reason)

    def _abandon(self, call: Call, reason: str | None) -> None:
        if call.as_task:
            return  # "the tasks/cancel request MUST be used instead" — 2025-11-25 basic/utilities/cancellation
        data = model.encode(CancelledParams(request_id=call.id, reason=UNSET if reason is None else reason))
        self._outgoing.append(Outgoing(encode_notification("notifications/cancelled", data), cancels=call))

    def _call_of_token(self, token: int | str) -> Call | None:
        # "The progress token remains valid … until the task reaches a terminal status" — basic/utilities/progress
        return super()._call_of_token(token) or self._followed.get(token)

    def unfollow(self, call: Call) -> None:
        """Stop hearing the progress of a call that was answered with a task: the task ended, or nobody cares."""
        if call.progress_token is not UNSET:
            self._followed.pop(call.progress_token, None)

    def _close(self, error: ErrorObject | None) -> None:
        if not self.closed:
            if self.state is not Negotiation.READY:
                self.state = Negotiation.FAILED
            lost = error or ErrorObject(ErrorCode.INTERNAL_ERROR, "connection closed")
            for subscription in [s for s in self._watches.subscriptions if s.id not in self._calls]:
                self._drop(subscription, lost)
        super()._close(error)
        self._watches.waiting.clear()
        self._callable.clear()
