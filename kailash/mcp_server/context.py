"""The context of one request: what a handler may ask, tell and know. One body serves both eras.

`await ctx.elicit(...)` sends a request to the client where that exists. Where it does not, the request is answered
`input_required`, and the handler runs again from its top when the client retries: questions already answered, and
results kept with `once`, are replayed from the sealed state.
"""

import hashlib
import inspect
import threading
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import anyio
import anyio.lowlevel
import msgspec
from msgspec import UNSET, Raw, Struct

from protocol import model
from protocol.elicitation import apply_defaults, check_elicit_content, check_elicitation_schema
from protocol.events import InputRequest, Request
from protocol.jsonrpc import DECODE_ERRORS
from protocol.params import CreateMessageParams, ElicitCompleteParams, ElicitParams, EmptyParams
from protocol.results import CreateMessageResult, ElicitResult, ListRootsResult
from protocol.sampling import check_sampling_messages
from protocol.types import (
    LoggingLevel,
    ModelPreferences,
    Root,
    SamplingMessage,
    TextContent,
    Tool,
    ToolChoice,
)

from ..errors import MCPError, MCPErrorCode, RequestError
from ..schema import to_jsonable

if TYPE_CHECKING:
    from ..telemetry import Span
    from .callers import Identity
    from .server import MCPServer
    from .session import ServerSession

__all__ = [
    "Cancellation",
    "Context",
    "Elicitation",
    "InputLedger",
    "InputNeeded",
    "TaskWanted",
    "Told",
    "current_context",
]

T = TypeVar("T")

_current: ContextVar["Context | None"] = ContextVar("kailash_mcp_context", default=None)


def current_context() -> "Context | None":
    """Return the context of the request being handled in this task or thread."""
    return _current.get()


class InputNeeded(BaseException):
    """Ends a handler's run because the client must answer first; private to the server.

    Not an `Exception`, so that a handler's own `except Exception` does not swallow it.
    """


class TaskWanted(InputNeeded):
    """Ends a handler's run because it goes on as a task; private to the server."""


class Elicitation(Struct, Generic[T], frozen=True):
    """What the user decided."""

    action: Literal["accept", "decline", "cancel"]
    data: T | None = None
    """The filled-in form, as the type that was asked for; `None` unless accepted."""

    @property
    def accepted(self) -> bool:
        """Tell whether the user accepted."""
        return self.action == "accept"


_MAKING = threading.Lock()


class Cancellation:
    """Tells a handler that nobody wants its answer any more; safe from any thread."""

    __slots__ = ("_event", "_is_set", "reason")

    def __init__(self) -> None:
        self._is_set = False
        self._event: threading.Event | None = None
        """Made when somebody waits: it takes longer to make than all the rest of a context."""
        self.reason: str | None = None

    def set(self, reason: str | None) -> None:
        """Mark as cancelled."""
        self.reason = reason
        self._is_set = True
        if self._event is not None:
            self._event.set()

    def is_set(self) -> bool:
        """Tell whether the request was cancelled."""
        return self._is_set

    __bool__ = is_set

    def wait(self, timeout: float | None = None) -> bool:
        """Block a worker thread until cancelled or until `timeout` seconds passed."""
        with _MAKING:
            if self._event is None:
                self._event = threading.Event()
        # Only now: whoever sets the mark looks for the event after that.
        return self._is_set or self._event.wait(timeout)

    def check(self) -> None:
        """Raise `MCPError` (CANCELLED) if the request was cancelled."""
        if self._is_set:
            raise MCPError(self.reason or "cancelled", error_code=MCPErrorCode.CANCELLED)


class InputLedger(Struct, omit_defaults=True):
    """What earlier rounds of one request brought: answers by key, results kept with `once`, questions asked."""

    answers: dict[str, Raw] = {}
    once: dict[str, Raw] = {}
    asked: dict[str, str] = {}
    """A digest of each open or answered question, so that an answer is never taken for another question's."""


_decode_ledger = msgspec.json.Decoder(InputLedger).decode


class Told:
    """The awaitable of something already done; awaiting it waits while the client reads too slowly."""

    __slots__ = ("_request", "_session", "sent")

    def __init__(self, session: "ServerSession | None", sent: bool, request: Request | None = None) -> None:
        self._session = session
        self._request = request
        self.sent = sent

    def __await__(self) -> Generator[Any, Any, bool]:
        if self._session is not None and self._session.channel.is_full:
            yield from self._session.channel.drain().__await__()
        elif not self.sent and self._request is not None and not self._request.is_open:
            # A handler that only tells, to nobody now, would never learn that it is cancelled.
            yield from anyio.lowlevel.checkpoint().__await__()
        return self.sent


class Context:
    """The request being handled. Handlers get it by annotating a parameter: `ctx: Context`."""

    __slots__ = (
        "_answered",
        "_counts",
        "_is_stateless",
        "_ledger",
        "_session",
        "_wanted",
        "cancelled",
        "request",
        "span",
    )

    def __init__(self, session: "ServerSession", request: Request) -> None:
        self._session = session
        self.request = request
        self.cancelled = Cancellation()
        """Set when the client withdraws the request; sync tools poll it with `check()`."""
        self.span: Span | None = None
        """Makes what the handler traces a child of the request's span."""
        self._ledger: InputLedger | None = None
        self._answered: Mapping[str, Raw] = {}
        self._is_stateless = False
        """Answers came, and no state with them."""
        self._wanted: dict[str, InputRequest] = {}
        self._counts: dict[str, int] = {}

    # What is known

    @property
    def task_id(self) -> str | None:
        """The task that runs this handler, if one does."""
        return None

    async def start_task(self) -> bool:
        """Go on as a task, in a tool with `task_asks_first`: the handler runs again from its top, with all answers.

        The call is answered with the task. Where no task can be made of it, because the client knows none, `False`
        comes back and the call goes on as it is.
        """
        if self._session.server.tasks.may_start(self._session, self.request):
            raise TaskWanted
        return False

    @property
    def server(self) -> "MCPServer":
        """The server that handles the request."""
        return self._session.server

    @property
    def lifespan(self) -> Any:
        """What the server's lifespan yielded."""
        return self._session.server.state

    @property
    def principal(self) -> str | None:
        """Who asks, as verified; `None` when nobody had to say."""
        return self.request.principal

    @property
    def permissions(self) -> frozenset[str] | None:
        """What the caller may do; `None`: everything."""
        return self._session.identity.permissions

    @property
    def identity(self) -> "Identity":
        """What is known of the caller: permissions, how it proved who it is, and the provider's metadata."""
        return self._session.identity

    @property
    def protocol_version(self) -> str:
        """The revision this request is made in."""
        return self.request.context.revision.name

    @property
    def client_info(self) -> Any:
        """The client's self-reported `Implementation`; for display, never for decisions."""
        return self.request.context.peer

    @property
    def capabilities(self) -> Any:
        """What the client declared for this request."""
        return self.request.context.capabilities

    @property
    def meta(self) -> dict[str, Any]:
        """The request's `_meta`."""
        raw = getattr(self.request.params, "meta", UNSET)
        return {} if raw is UNSET else msgspec.json.decode(raw)

    # What is told: done at once, from the loop or a worker thread; awaiting gives back-pressure

    def progress(self, progress: float, total: float | None = None, message: str | None = None) -> Told:
        """Tell how far the work has come; sends nothing unless the client gave a token and `progress` increased."""
        engine = self._session.engine
        return self._tell(lambda: engine.send_progress(self.request, progress, total, message))

    def log(self, level: LoggingLevel, data: Any, logger: str | None = None) -> Told:
        """Send a log message to the client, if it wants to hear this level."""
        engine = self._session.engine
        plain = to_jsonable(data)
        return self._tell(lambda: engine.send_log(self.request, level, plain, logger))

    def debug(self, data: Any) -> Told:
        """Log at level debug."""
        return self.log("debug", data)

    def info(self, data: Any) -> Told:
        """Log at level info."""
        return self.log("info", data)

    def warning(self, data: Any) -> Told:
        """Log at level warning."""
        return self.log("warning", data)

    def error(self, data: Any) -> Told:
        """Log at level error."""
        return self.log("error", data)

    def close_stream(self, *, retry: float | None = None) -> Told:
        """End the HTTP connection that waits for this answer; the client comes back for it. For long work.

        The handler goes on; what it sends meanwhile is kept. Awaiting gives `False`, and nothing happened, where no
        client would come back: outside sessions over HTTP, and before 2025-11-25.

        Args:
            retry: seconds until the client shall come back; default as the server says.
        """
        return self._tell(lambda: self._session.close_stream(self.request, retry))

    def _tell(self, act: Callable[[], bool]) -> Told:
        session = self._session
        if threading.get_ident() != session.thread:
            session.call_soon_threadsafe(lambda: session.send(act))
            return Told(None, True)
        sent = session.send(act)
        return Told(session, sent, self.request)

    def wait(self, awaitable: Awaitable[T]) -> T:
        """Run one of this context's coroutines from a sync tool's thread: `ctx.wait(ctx.elicit(...))`."""

        import anyio.from_thread  # 10 ms that most servers never need

        async def run() -> T:
            _current.set(self)
            return await awaitable

        return anyio.from_thread.run(run, token=self._session.token)

    # What is asked

    async def elicit(
        self, message: str, schema: type[T] | Mapping[str, Any] | None = None, *, key: str | None = None
    ) -> Elicitation[T]:
        """Ask the user to fill in a form.

        Args:
            message: what to tell the user.
            schema: a dataclass, TypedDict, Struct or Pydantic model with flat fields, or a JSON schema; `None` asks
                only for consent. Never ask for secrets this way.
            key: names the question when the same handler asks in no fixed order.

        Raises:
            MCPError: the client cannot elicit, or its answer does not fit the schema.
        """
        requested, convert = _form_of(schema)
        params = ElicitParams(message=message, requested_schema=requested)
        raw = await self._ask("elicitation/create", params, key)
        result = _decode(raw, ElicitResult)
        if result.action != "accept":
            return Elicitation(result.action)
        content = apply_defaults(requested, {} if result.content is UNSET else result.content or {})
        wrong = check_elicit_content(requested, content)
        if wrong is not None:
            raise _malformed(f"elicitation answer: {wrong}")
        return Elicitation("accept", convert(content))

    async def elicit_url(
        self, message: str, url: str, *, elicitation_id: str | None = None, key: str | None = None
    ) -> Elicitation[None]:
        """Ask the user to visit a URL; `accept` means consent to open it, nothing more.

        Args:
            message: what to tell the user.
            url: what to visit.
            elicitation_id: names the visit for `end_visit`; default one of the engine's (2025-11-25).
            key: as in `elicit`.
        """
        named = UNSET if elicitation_id is None else elicitation_id
        params = ElicitParams(message=message, mode="url", url=url, elicitation_id=named)
        raw = await self._ask("elicitation/create", params, key)
        return Elicitation(_decode(raw, ElicitResult).action)

    def end_visit(self, elicitation_id: str) -> Told:
        """Tell the client that a visit it was asked for is over; only revision 2025-11-25 can say so."""
        method, engine = "notifications/elicitation/complete", self._session.engine

        def send() -> bool:
            if method not in self.request.context.revision.methods or not self.request.is_open:
                return False
            engine.send_notification(
                method, ElicitCompleteParams(elicitation_id=elicitation_id), related_to=self.request
            )
            return True

        return self._tell(send)

    async def sample(
        self,
        messages: str | Sequence[str | SamplingMessage],
        *,
        max_tokens: int = 1024,
        system_prompt: str | None = None,
        temperature: float | None = None,
        stop_sequences: Sequence[str] | None = None,
        model_preferences: ModelPreferences | None = None,
        include_context: Literal["none", "thisServer", "allServers"] | None = None,
        tools: Sequence[Tool] | None = None,
        tool_choice: ToolChoice | None = None,
        metadata: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> CreateMessageResult:
        """Ask the client's model.

        Raises:
            MCPError: the client has no model to ask, or the user refused.
            ValueError: tool uses and tool results do not match.
        """
        texts = [messages] if isinstance(messages, str) else messages
        params = CreateMessageParams(
            messages=[
                SamplingMessage(role="user", content=TextContent(text=m)) if isinstance(m, str) else m for m in texts
            ],
            max_tokens=max_tokens,
            system_prompt=UNSET if system_prompt is None else system_prompt,
            temperature=UNSET if temperature is None else temperature,
            stop_sequences=UNSET if stop_sequences is None else list(stop_sequences),
            model_preferences=UNSET if model_preferences is None else model_preferences,
            include_context=UNSET if include_context is None else include_context,
            tools=UNSET if tools is None else list(tools),
            tool_choice=UNSET if tool_choice is None else tool_choice,
            metadata=UNSET if metadata is None else dict(metadata),
        )
        wrong = check_sampling_messages(params.messages)
        if wrong is not None:
            raise ValueError(f"sampling messages: {wrong}")
        return _decode(await self._ask("sampling/createMessage", params, key), CreateMessageResult)

    async def list_roots(self, *, key: str | None = None) -> list[Root]:
        """Ask which places in the file system the client lets the server know of."""
        return _decode(await self._ask("roots/list", EmptyParams(), key), ListRootsResult).roots

    async def once(self, key: str, fn: Callable[[], T | Awaitable[T]]) -> T:
        """Run `fn` only the first time, however often the handler runs for this request.

        The result must be JSON-able; it travels through the client, readable and sealed, so it must hold no secret.
        """
        ledger = self._read_ledger()
        kept = ledger.once.get(key)
        if kept is not None:
            value: T = msgspec.json.decode(kept)
            return value
        outcome = fn()
        result: T = await outcome if inspect.isawaitable(outcome) else outcome
        ledger.once[key] = Raw(model.encode(to_jsonable(result)))
        return result

    async def _ask(self, method: str, params: Any, key: str | None) -> Raw:
        question = InputRequest(method, params)
        session, request = self._session, self.request
        lacking = session.engine.missing_for(request, {"": question})
        if lacking:
            # Where a code of the protocol says so the request ends in it; elsewhere it is a failure like any other.
            kind = MCPError if request.context.can_call_peer else RequestError
            raise kind(
                f"the client did not declare {', '.join(lacking)}",
                error_code=MCPErrorCode.MISSING_CLIENT_CAPABILITY,
                data={"requiredCapabilities": lacking},
            )
        return await self._put(question, key)

    async def _put(self, question: InputRequest, key: str | None) -> Raw:
        """Bring a question to the client, who can answer it, and return the answer."""
        if self.request.context.can_call_peer:
            self._session.keep_apart(self.request)
            [call] = self._session.engine.ask(self.request, {"": question})
            return await self._session.wait_for(call)
        return await self._ask_by_retry(question, key)

    async def _ask_by_retry(self, question: InputRequest, key: str | None) -> Raw:
        key, digest, answer = self._recall(question, key)
        if answer is not None:
            return answer
        ledger = self._read_ledger()
        ledger.answers.pop(key, None)
        ledger.asked[key] = digest
        self._wanted[key] = question
        # Siblings of a gather get to ask too, so that one round carries all their questions.
        await anyio.lowlevel.checkpoint()
        raise InputNeeded

    def _recall(self, question: InputRequest, key: str | None) -> tuple[str, str, Raw | None]:
        """Return a question's key and digest, and its answer if the client gave it already."""
        ledger = self._read_ledger()
        # Without state nothing tells which question was answered, except the name that the handler gave it.
        by_name = self._is_stateless and key is not None
        if key is None:
            kind = question.method.partition("/")[0]
            self._counts[kind] = self._counts.get(kind, 0) + 1
            key = f"{kind}-{self._counts[kind]}"
        digest = _digest(question)
        answer = ledger.answers.get(key)
        if answer is None:
            answer = self._answered.get(key)
        if answer is not None and ledger.asked.get(key, digest if by_name else None) == digest:
            ledger.answers[key] = answer
            ledger.asked[key] = digest
            return key, digest, answer
        return key, digest, None

    def _read_ledger(self) -> InputLedger:
        if self._ledger is None:
            self._ledger = InputLedger()
        return self._ledger

    # For the session

    def restore(self, state: bytes) -> None:
        """Take what the client brought back."""
        self._is_stateless = not state
        self._ledger = _decode_ledger(state) if state else InputLedger()
        answered = getattr(self.request.params, "input_responses", UNSET)
        self._answered = {} if answered is UNSET else answered

    def told(self) -> tuple[InputLedger | None, Mapping[str, Raw], bool]:
        """Return what the client answered so far, for a later run of the same handler to `inherit`."""
        return self._ledger, self._answered, self._is_stateless

    def inherit(self, earlier: "Context") -> None:
        """Take what an earlier run of the same handler was told."""
        self._ledger, self._answered, self._is_stateless = earlier.told()

    @property
    def has_asked(self) -> bool:
        """Tell whether the client has answered something."""
        return bool(self._answered or (self._ledger is not None and self._ledger.answers))

    def needed(self) -> tuple[dict[str, InputRequest], bytes]:
        """Return the open questions and the state to seal."""
        return self._wanted, model.encode(self._read_ledger())

    def activate(self) -> None:
        """Make this the current context of the running task."""
        _current.set(self)
        if self.span is not None:
            self.span.activate()


def _digest(question: InputRequest) -> str:
    return hashlib.sha256(question.method.encode() + model.encode(question.params)).hexdigest()[:16]


def _malformed(why: str) -> RequestError:
    return RequestError(f"malformed {why}", error_code=MCPErrorCode.INVALID_PARAMS)


def _decode(raw: Raw, type_: type[T]) -> T:
    try:
        return model.decode(raw, type_)
    except DECODE_ERRORS as error:
        raise _malformed(f"{type_.__name__}: {error}") from None


_SECRETS = frozenset(
    "password passwd passphrase passcode pin secret clientsecret apikey accesskey accesstoken refreshtoken bearertoken "
    "privatekey credential credentials creditcard creditcardnumber cardnumber cvv cvc ssn socialsecuritynumber".split()
)


def _secret_in(form: Mapping[str, Any]) -> str | None:
    """Return why a form must not be shown, if one of its fields asks for a secret by its name.

    "Servers MUST NOT use form mode elicitation to request sensitive information" — client/elicitation#safety
    """
    for name in form.get("properties", {}):
        if "".join(filter(str.isalnum, name)).lower() in _SECRETS:
            return f"field {name!r} asks for a secret; have it entered at a URL of yours: ctx.elicit_url()"
    return None


def _form_of(schema: Any) -> tuple[dict[str, Any], Callable[[dict[str, Any]], Any]]:
    """Return the form of a type or schema, and what turns its content into the type."""
    if schema is None:
        return {"type": "object", "properties": {}}, lambda content: content
    if isinstance(schema, Mapping):
        requested, convert = dict(schema), lambda content: content
    else:
        from ..schema.forms import derive_form

        requested, convert = derive_form(schema)
    wrong = check_elicitation_schema(requested) or _secret_in(requested)
    if wrong is not None:
        raise TypeError(f"an elicitation form is a flat object of primitives: {wrong}")
    return requested, convert
