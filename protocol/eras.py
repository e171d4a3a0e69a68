"""The two eras: everything that truly differs between the handshake revisions and the envelope revision.

Seven hooks, and nothing else in the tree asks which era it is:

| hook      | HandshakeEra (one per engine)                 | EnvelopeEra (one per profile)                    |
|-----------|-----------------------------------------------|--------------------------------------------------|
| `claims`  | what the other does not                       | `_meta` names a protocolVersion, or only it has it |
| `admit`   | lifecycle table, then the session's context   | required keys → version → context                |
| `stamp`   | the caller's `_meta` and the progress token   | version, capabilities, client info, log level too |
| `seal`    | stepped down to the revision                  | resultType, serverInfo, ttlMs and cacheScope     |
| `ask`     | one server→client request per input           | answers `input_required` with sealed state       |
| `publish` | once, if declared or subscribed               | once per matching subscription, tagged           |
| `abandon` | `notifications/cancelled`                     | the same, marked so that HTTP closes the stream  |

`stamp` and `abandon` are the client's; they live in `client.py` beside the state they need.
"""

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, structs

from . import meta as keys
from . import model
from .capabilities import ClientCapabilities, has, missing
from .errors import ErrorCode, ErrorObject, LocalProtocolError
from .events import Call, ChangeKind, Context, InputRequest, Request
from .jsonrpc import DECODE_ERRORS, duplicate_member, encode_result
from .meta import RequestMeta
from .methods import METHODS, TASKS_EXTENSION, MethodSpec
from .params import CreateMessageParams, ElicitParams, InitializeParams, ResourceUpdatedParams
from .results import CallToolResult, InputRequiredResult
from .revisions import ENVELOPE_REVISIONS, HANDSHAKE_REVISIONS, Revision
from .sharing import HandshakeState
from .subscriptions import LIST_CHANGES, NOTIFICATION_OF, ChangeNotice, matches
from .types import Implementation, TextContent
from .types import InputRequest as WireInputRequest

if TYPE_CHECKING:
    from .profiles import ServerProfile
    from .server import ServerEngine

__all__ = ["LIFECYCLE", "LOG_LEVELS", "EnvelopeEra", "Handshake", "HandshakeEra", "Prepared", "required_capabilities"]

LOG_LEVELS = {
    name: rank
    for rank, name in enumerate(("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"))
}
"""Severity by name, RFC 5424 order."""

_ENVELOPE_ONLY = frozenset[str]().union(*(r.methods for r in ENVELOPE_REVISIONS)) - frozenset[str]().union(
    *(r.methods for r in HANDSHAKE_REVISIONS)
)
_HANDSHAKE_METHODS = frozenset[str]().union(*(r.methods for r in HANDSHAKE_REVISIONS))


class Handshake(Enum):
    """Where a handshake connection stands, seen from the server."""

    NEW = "new"
    INITIALIZING = "initializing"
    OPERATING = "operating"


LIFECYCLE = {
    (Handshake.NEW, "initialize"): Handshake.INITIALIZING,
    (Handshake.INITIALIZING, "notifications/initialized"): Handshake.OPERATING,
}
"""What moves the lifecycle; anything else leaves it where it is — basic/lifecycle."""

_LONGEST_KNOWN = 4096
_decode_meta = msgspec.json.Decoder(RequestMeta).decode


Sealed: TypeAlias = tuple[bytes | memoryview, ...]
"""An encoded result, in pieces."""


class Prepared:
    """A result that many requests share: encoded once per revision, until whoever made it drops it."""

    __slots__ = ("result", "sealed")

    def __init__(self, result: Struct) -> None:
        self.result = result
        self.sealed: dict[str, bytes] = {}

    def seal(self, era: "HandshakeEra | EnvelopeEra", request: Request) -> Sealed:
        """Return the result as it is encoded for the revision of a request."""
        revision = request.context.revision.name
        sealed = self.sealed.get(revision)
        if sealed is None:
            sealed = self.sealed[revision] = b"".join(era.seal(request, self.result))
        return (sealed,)


_LONG = 4096
"""Characters of text from which another encoder is faster."""


def _encode(result: Any) -> bytes:
    if type(result) is CallToolResult:
        for block in result.content:
            if type(block) is TextContent and len(block.text) > _LONG:
                return model.encode_long(result)
    return model.encode(result)


def required_capabilities(inputs: Mapping[str, InputRequest]) -> list[str]:
    """Return the client capabilities that these inputs need, as paths."""
    required = []
    for entry in inputs.values():
        path = METHODS[entry.method].requires
        assert path is not None
        params = entry.params
        if isinstance(params, ElicitParams):
            path = "elicitation.url" if params.mode == "url" else "elicitation.form"
        elif isinstance(params, CreateMessageParams) and not (params.tools is UNSET and params.tool_choice is UNSET):
            # "Servers MUST NOT send tool-enabled sampling requests to clients that have not declared support"
            # — client/sampling#tools-in-sampling
            path = "sampling.tools"
        required.append(path)
    return required


class HandshakeEra:
    """The state of one handshake connection and the rules of the four revisions that have one."""

    # A request over HTTP may have an engine to itself; what it does not change it need not set.
    state = Handshake.NEW
    context: Context | None = None
    log_level: str | None = None
    changes = 0
    """How often what `export` returns has changed."""

    def __init__(self, profile: "ServerProfile") -> None:
        self._profile = profile
        self.watched: set[str] = set()
        """URIs named by `resources/subscribe`."""
        self._held: dict[ChangeNotice, None] = {}

    def export(self) -> HandshakeState:
        """Return what another engine needs to know to go on."""
        is_operating = self.state is Handshake.OPERATING
        return HandshakeState(is_operating=is_operating, log_level=self.log_level, watched=frozenset(self.watched))

    def restore(self, state: HandshakeState) -> None:
        """Go on where another engine is; a lifecycle never goes back."""
        if state.is_operating:
            self.state = Handshake.OPERATING
        elif self.state is Handshake.NEW:
            self.state = Handshake.INITIALIZING
        self.log_level = state.log_level
        self.watched = set(state.watched)

    def release(self) -> list[ChangeNotice]:
        """Return the list changes that had to wait for `notifications/initialized`, once it is here."""
        if self.state is not Handshake.OPERATING:
            return []
        held, self._held = list(self._held), {}
        return held

    def advance(self, method: str) -> None:
        """Take a message that may move the lifecycle."""
        state = LIFECYCLE.get((self.state, method))
        if state is not None:
            self.state = state
            self.changes += 1

    def admit(self, method: str, params: Any) -> Context | ErrorObject:
        """Return the context a request is handled in, or the error it gets."""
        if method == "initialize":
            return self._admit_initialize(params)
        if self.context is not None:
            return self.context
        if method == "ping" and self._profile.handshakes:
            return Context(revision=next(iter(self._profile.handshakes.values())))
        if method not in _HANDSHAKE_METHODS:
            return ErrorObject(ErrorCode.METHOD_NOT_FOUND, "Method not found")
        # Not initialised in one era and missing `_meta` in the other are the same bytes, hence the code of the latter.
        why = "initialize first, or name the protocol version in _meta"
        return ErrorObject(ErrorCode.INVALID_PARAMS, f"Not initialized: {why}")

    def _admit_initialize(self, params: Any) -> Context | ErrorObject:
        profile = self._profile
        if not profile.handshakes:
            requested = params.protocol_version if isinstance(params, InitializeParams) else ""
            return profile.unsupported(requested)
        if self.state is not Handshake.NEW:
            return ErrorObject(ErrorCode.INVALID_REQUEST, "Invalid request: already initialized")
        if not isinstance(params, InitializeParams):
            return Context(revision=next(iter(profile.handshakes.values())))
        # "If the server supports the requested protocol version, it MUST respond with the same version. Otherwise …
        # another protocol version it supports" — basic/lifecycle#version-negotiation
        revision = profile.handshakes.get(params.protocol_version) or next(reversed(profile.handshakes.values()))
        return Context(
            revision=revision,
            peer=params.client_info,
            capabilities=params.capabilities,
            can_call_peer=True,
        )

    def seal(self, request: Request, result: Any) -> Sealed:
        """Encode a result in the shape of the session's revision."""
        if type(result) is Prepared:
            return result.seal(self, request)
        downgrade = request.context.revision.downgrades.get(type(result))
        return (_encode(result if downgrade is None else downgrade(result)),)

    def may_log(self, context: Context, level: str) -> bool:
        """Tell whether the client wants log messages of this level."""
        return self.log_level is None or LOG_LEVELS[level] >= LOG_LEVELS[self.log_level]

    def ask(
        self,
        engine: "ServerEngine",
        request: Request,
        inputs: Mapping[str, InputRequest],
        state: bytes,
        *,
        deadline: float | None,
        now: float,
    ) -> list[Call]:
        """Send one request to the client per input, in order, on the stream of `request`."""
        revision = request.context.revision
        engine.check_room(len(inputs))
        calls = []
        for entry in inputs.values():
            params = entry.params
            if isinstance(params, ElicitParams) and params.mode == "url" and params.elicitation_id is UNSET:
                # Unique within the session is all that is asked of it; nobody else sees it.
                params = structs.replace(params, elicitation_id=f"elicitation-{engine.peek_id()}")
            downgrade = revision.downgrades.get(type(params))
            body = model.encode(params if downgrade is None else downgrade(params))
            calls.append(engine.call_peer(entry.method, body, related_to=request.id, deadline=deadline))
        return calls

    def publish(self, engine: "ServerEngine", notice: ChangeNotice) -> None:
        """Tell the client once, if lists may be announced or the resource is watched."""
        # "Before receiving the initialized notification … servers SHOULD NOT send requests other than pings and
        # logging" — basic/lifecycle#initialization
        if self.state is Handshake.INITIALIZING and notice.kind in LIST_CHANGES:
            self._held[notice] = None  # at most one of each kind
        if self.state is not Handshake.OPERATING or self.context is None:
            return
        method = NOTIFICATION_OF[notice.kind]
        if method not in self.context.revision.methods:
            return
        row = LIST_CHANGES.get(notice.kind)
        if row is not None:
            if has(self._profile.capabilities, row[1]):
                engine.announce(notice, method, b"")
        elif notice.key in self.watched:
            assert notice.key is not None
            engine.announce(notice, method, model.encode(ResourceUpdatedParams(uri=notice.key)))


class EnvelopeEra:
    """The rules of the stateless revision; it keeps nothing but a cache of contexts."""

    def __init__(self, profile: "ServerProfile") -> None:
        self._profile = profile
        self.known: dict[bytes, tuple[RequestMeta, Context]] = {}
        """What `_meta` came to, by its bytes; only for requests without a progress token, whose bytes come again."""
        info = model.encode(profile.info)
        self._server_info = b'"%b":%b' % (keys.SERVER_INFO.encode(), info)
        self._server_info_value = msgspec.json.decode(info)
        self._suffixes: dict[tuple[type, str, str], bytes] = {}
        """What follows the members of results of a type, by method and revision, where nothing of them is to change."""

    def claims(self, method: str, meta: RequestMeta) -> bool:
        """Tell whether a message belongs to this era, whatever the channel did before."""
        if not self._profile.envelopes:
            return False
        return meta.protocol_version is not UNSET or method in _ENVELOPE_ONLY

    def admit(self, meta: RequestMeta, raw: Raw | UnsetType) -> Context | ErrorObject:
        """Return the context that `_meta` describes, or the error it gets; the engine checks headers in between."""
        assert meta.protocol_version is not UNSET and meta.client_capabilities is not UNSET
        revision = self._profile.envelopes.get(meta.protocol_version)
        if revision is None:
            return self._profile.unsupported(meta.protocol_version)
        try:
            capabilities = model.decode(meta.client_capabilities, ClientCapabilities)
            peer = None if meta.client_info is UNSET else model.decode(meta.client_info, Implementation)
        except DECODE_ERRORS as error:
            return ErrorObject(ErrorCode.INVALID_PARAMS, f"Invalid params: _meta: {error}")
        context = Context(
            revision=revision,
            peer=peer,
            capabilities=capabilities,
            log_level=None if meta.log_level is UNSET else meta.log_level,
        )
        if (
            raw is not UNSET
            and len(raw) <= _LONGEST_KNOWN
            and meta.progress_token is UNSET
            and duplicate_member(raw) is None
        ):
            if len(self.known) >= self._profile.limits.contexts:
                self.known.clear()  # only time is lost
            text = bytes(raw)
            # Decoded anew, because raw members keep the whole text alive that they were found in.
            self.known[text] = (_decode_meta(text), context)
        return context

    @staticmethod
    def lacking(meta: RequestMeta) -> ErrorObject | None:
        """Return the error of a request that does not describe itself."""
        for value, name in (
            (meta.protocol_version, keys.PROTOCOL_VERSION),
            (meta.client_capabilities, keys.CLIENT_CAPABILITIES),
        ):
            if value is UNSET:
                return ErrorObject(ErrorCode.INVALID_PARAMS, f"Invalid params: _meta lacks {name}")
        return None

    def seal(self, request: Request, result: Any) -> Sealed:
        """Encode a result with `resultType`, the server's identity and, where the method has them, cache hints."""
        kind = (type(result), request.method, request.context.revision.name)
        suffix = self._suffixes.get(kind)
        if suffix is not None and result.meta is UNSET and result.result_type is UNSET and not model.extra(result):
            body = _encode(result)
            return (memoryview(body)[:-1], b"," if len(body) > 2 else b"", suffix)
        if type(result) is Prepared:
            return result.seal(self, request)
        spec = self._profile.methods[request.method]
        if not isinstance(result, model.Model):
            return (self._seal_mapping(spec, msgspec.json.decode(result) if isinstance(result, Raw) else result),)
        downgrade = request.context.revision.downgrades.get(type(result))
        if downgrade is not None:
            result = downgrade(result)
        if (
            result.meta is UNSET
            and result.result_type is UNSET
            and not (spec.cacheable and (result.ttl_ms is not UNSET or result.cache_scope is not UNSET))
            and not model.extra(result)
        ):
            body = _encode(result)
            suffix = model.encode(self._reserved(spec))[1:]
            if downgrade is None and not spec.cacheable:
                self._suffixes[kind] = suffix
            return (memoryview(body)[:-1], b"," if len(body) > 2 else b"", suffix)
        return (self._seal_mapping(spec, msgspec.json.decode(model.encode(result))),)

    def _reserved(self, spec: MethodSpec) -> dict[str, Any]:
        """Return the members that every complete result of a method carries."""
        members: dict[str, Any] = {"resultType": "complete"}
        if spec.cacheable:
            ttl_ms, scope = self._profile.cache_hint(spec.name)
            members |= {"ttlMs": ttl_ms, "cacheScope": scope}
        return members | {"_meta": {keys.SERVER_INFO: self._server_info_value}}

    def _seal_mapping(self, spec: MethodSpec, result: dict[str, Any]) -> bytes:
        reserved = self._reserved(spec)
        if result.get("resultType", "complete") != "complete":
            # "Interim results" carry no cache hints — 2026-07-28 basic/patterns/mrtr
            reserved = {"_meta": reserved["_meta"]}
        merged = {**reserved, **result}
        merged["_meta"] = {**reserved["_meta"], **(result.get("_meta") or {})}
        return model.encode(merged)

    def may_log(self, context: Context, level: str) -> bool:
        """Tell whether this request asked for log messages of this level.

        "If absent, the server MUST NOT send any notifications/message" — 2026-07-28 server/utilities/logging
        """
        return context.log_level is not None and LOG_LEVELS[level] >= LOG_LEVELS[context.log_level]

    def ask(
        self,
        engine: "ServerEngine",
        request: Request,
        inputs: Mapping[str, InputRequest],
        state: bytes,
        *,
        deadline: float | None,
        now: float,
    ) -> list[Call]:
        """Answer `input_required`: the request ends, the client retries with the responses and the sealed state."""
        if not self._profile.methods[request.method].interruptible:
            # "only on … tools/call, prompts/get, resources/read" — 2026-07-28 basic/patterns/mrtr
            raise LocalProtocolError(f"{request.method} cannot ask for input")
        result = InputRequiredResult(result_type="input_required")
        if inputs:
            result.input_requests = embedded(inputs)
        if state or not inputs:
            if self._profile.sealer is None:
                raise LocalProtocolError("state needs a StateSealer in the ServerProfile")
            result.request_state = self._profile.sealer.seal(
                state, principal=request.principal, method=request.method, params=request.params, now=now
            )
        result.meta = {keys.SERVER_INFO: self._server_info_value}
        engine.reply(request, encode_result(request.id, model.encode(result)))
        return []

    def publish(self, engine: "ServerEngine", notice: ChangeNotice) -> None:
        """Tell each matching subscription once, tagged with its own id."""
        for request, honoured in engine.listeners:
            if matches(honoured, notice):
                tag = {keys.SUBSCRIPTION_ID: request.id}
                members: dict[str, Any] = msgspec.json.decode(notice.body) if notice.body else {}
                members["_meta"] = tag
                if notice.kind is ChangeKind.RESOURCE:
                    members["uri"] = notice.key
                engine.announce(notice, NOTIFICATION_OF[notice.kind], model.encode(members), related_to=request)


def embedded(inputs: Mapping[str, InputRequest]) -> dict[str, WireInputRequest]:
    """Return questions in the form in which an answer or a task carries them."""
    return {key: WireInputRequest(method=entry.method, params=_embed(entry.params)) for key, entry in inputs.items()}


def _embed(params: Any) -> Raw:
    # What only an older revision had, an id of its own or a task, does not travel inside.
    downgrade = ENVELOPE_REVISIONS[-1].downgrades.get(type(params))
    return Raw(model.encode(params if downgrade is None else downgrade(params)))


def lacking_for(context: Context, inputs: Mapping[str, InputRequest]) -> dict[str, Any]:
    """Return the capabilities the client would need for these inputs and did not declare."""
    declared = context.capabilities
    assert isinstance(declared, ClientCapabilities)
    lacking = missing(required_capabilities(inputs), declared)
    revision: Revision = context.revision
    for entry in inputs.values():
        if context.can_call_peer and entry.method not in revision.methods:
            lacking.setdefault(str(METHODS[entry.method].requires), {})
    return lacking


def undeclared(context: Context, path: str) -> ErrorObject | None:
    """Return the error for a capability that the client needs for a request and did not declare, if there is one."""
    assert isinstance(context.capabilities, ClientCapabilities)
    lacking = missing([path], context.capabilities)
    if not lacking:
        return None
    data = {"requiredCapabilities": lacking}
    return ErrorObject(ErrorCode.MISSING_CLIENT_CAPABILITY, "Missing required client capability", data)


def tasks_declared(context: Context) -> bool:
    """Tell whether the client declared the tasks extension for this request."""
    declared = context.capabilities
    return declared is not None and has(declared, f"extensions:{TASKS_EXTENSION}")
