"""What is true of every message of a server, looked at whatever the scenario is about."""

import json
import re
from collections.abc import Callable
from typing import Any, Protocol

from protocol.jsonrpc import Malformed, decode
from protocol.limits import Limits

from .dialect import META, Conversation, Received
from .schemas import RULE as SCHEMA
from .schemas import schema_faults
from .shapes import faults_of
from .wire import Answer

__all__ = ["ALWAYS", "ServerMonitor"]

ALWAYS = (1, 2, 4, 5, 6, 8, 9, 14, 15, 16, 19, 24, 34, 45, 46, 49, 64, 70, 78, 89, 91, 102, 103, 105, 120, 121,
          132, 136, 138, 141, 142, 143, 147, 148, 151, 152, 163, 164, 174, 180, 181, 182, 225, SCHEMA)  # fmt: skip
"""The rules that every message is held to; a scenario passes them when it saw one that they are about."""

_LIMITS = Limits(message_bytes=64 * 1024 * 1024, depth=512)
_LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
_CACHED = (
    "server/discover",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
)
_ASKED = ("elicitation/create", "sampling/createMessage", "roots/list")
_CHANGES = {
    "notifications/tools/list_changed": ("tools", "toolsListChanged"),
    "notifications/prompts/list_changed": ("prompts", "promptsListChanged"),
    "notifications/resources/list_changed": ("resources", "resourcesListChanged"),
}
_VISIBLE = re.compile(r"[\x21-\x7e]+")


_WHOLE = {"stdio": 46, "sse": 91, "websocket": 225}
"""The rule that what comes is messages and nothing else, where all of it comes on one wire."""


class Judge(Protocol):
    """Takes verdicts; see `scenario.Trial`."""

    def __call__(self, rule: int, is_kept: bool, detail: str, line: int | None = None) -> bool: ...


class ServerMonitor:
    """Holds each message of one conversation to the rules of `ALWAYS`."""

    def __init__(self, check: Judge) -> None:
        self.check = check
        self._requests: dict[tuple[type, Any], dict[str, Any]] = {}
        self._answered: set[tuple[type, Any]] = set()
        self._theirs: set[tuple[type, Any]] = set()
        self._progress: dict[tuple[type, Any], float] = {}
        self._streams: dict[str, dict[str, Any]] = {}
        self._going: set[tuple[type, Any]] = set()
        """Requests whose answer was a task, which goes on."""
        self._events = 0
        self.expects_odd = False
        """The scenario sent what deserves no usual answer: ids are not compared."""

    def adopt(self, other: "ServerMonitor") -> None:
        """Take over what another monitor knew of the same conversation."""
        self._requests.update(other._requests)  # noqa: SLF001 - the same class
        self._answered |= other._answered  # noqa: SLF001
        self._theirs |= other._theirs  # noqa: SLF001

    def began(self, conversation: Conversation, message: dict[str, Any], where: str) -> None:
        """Note a request of ours."""
        self._streams[where] = message
        request_id = message.get("id")
        if isinstance(request_id, (str, int)):
            self._requests[type(request_id), request_id] = message
            self._answered.discard((type(request_id), request_id))
        token = ((message.get("params") or {}).get("_meta") or {}).get("progressToken")
        if token is not None:
            self._progress[type(token), token] = float("-inf")

    def head(self, conversation: Conversation, answer: Answer, sent: Any) -> None:
        """Look at the head of an HTTP answer."""
        line = conversation.transcript.last
        session_id = answer.header("mcp-session-id")
        if conversation.revision.is_envelope:
            self.check(105, session_id is None, f"a session id was minted: {session_id!r}", line)
        elif session_id is not None:
            self.check(78, bool(_VISIBLE.fullmatch(session_id)), f"the session id is {session_id!r}", line)
        if isinstance(sent, dict) and "method" in sent and "id" in sent and answer.status == 200:
            is_known = answer.media_type in ("application/json", "text/event-stream")
            self.check(64, is_known, f"a request was answered as {answer.header('content-type')!r}", line)

    def event(self, conversation: Conversation, kind: str, data: str) -> None:
        """Look at an event of HTTP+SSE: first `endpoint`, then nothing but messages."""
        line = conversation.transcript.last
        if not self._events:
            self.check(89, kind == "endpoint", f"the first event is {kind!r}", line)
        else:
            self.check(89, kind != "endpoint", "the address that messages go to was named again", line)
            self.check(91, kind in ("message", "endpoint"), f"an event of the kind {kind!r}: {data[:80]!r}", line)
        self._events += 1

    def misframed(self, conversation: Conversation, why: str) -> None:
        """Look at a WebSocket that ended because its frames were wrong."""
        self.check(225, False, f"the frames break RFC 6455: {why}", conversation.transcript.last)

    def received(self, conversation: Conversation, received: Received) -> None:
        """Look at a message."""

        def check(rule: int, is_kept: bool, detail: str) -> bool:
            return self.check(rule, is_kept, detail, received.line)

        raw, message = received.raw, received.message
        try:
            raw.decode()
        except UnicodeDecodeError:
            check(8, False, "bytes that are no UTF-8")
            return
        check(8, True, "UTF-8")
        whole = _WHOLE.get(conversation.transport)
        if whole is not None and not check(whole, isinstance(message, (dict, list)), f"no message: {raw[:80]!r}"):
            return
        if raw.lstrip()[:1] == b"[":
            if not conversation.revision.batching:
                check(14, False, "a batch was sent")
        else:
            check(14, True, "no batch")
            found = decode(raw, _LIMITS)
            if isinstance(found, Malformed):
                self._explain(check, message, found)
        if not isinstance(message, dict):
            check(1, False, f"no message: {raw[:80]!r}")
            return
        if message.get("jsonrpc") == "2.0":
            check(1, True, "jsonrpc is 2.0")
        self._schema(conversation, check, message)
        if "method" not in message:
            self._response(conversation, check, received)
        elif "id" in message:
            self._request(conversation, check, received)
        else:
            self._notification(conversation, check, received)

    def _schema(
        self, conversation: Conversation, check: Callable[[int, bool, str], bool], message: dict[str, Any]
    ) -> None:
        request_id = message.get("id")
        key = (type(request_id), request_id) if isinstance(request_id, (str, int)) else None
        request = self._requests.get(key) if key and "method" not in message else None
        faults = schema_faults(message, conversation.revision, request)
        if faults is None:
            return
        what = message.get("method") or f"the answer to {request['method'] if request else 'no request'}"
        for fault in faults:
            check(SCHEMA, False, f"{what}: {fault}")
        if not faults:
            check(SCHEMA, True, f"{what} fits the schema")

    def _explain(self, check: Callable[[int, bool, str], bool], message: Any, found: Malformed) -> None:
        why = found.error.message
        if isinstance(message, dict) and "method" not in message and ("result" in message) == ("error" in message):
            check(5, False, why)
        elif isinstance(message, dict) and message.get("id", 0) is None and "error" in message:
            check(16, False, 'an error with "id": null; the member is left out')
        elif (
            isinstance(message, dict) and "error" in message and "-32600" not in why and message.get("jsonrpc") == "2.0"
        ):
            check(6, False, why)
        else:
            check(1, False, why)

    def _response(
        self, conversation: Conversation, check: Callable[[int, bool, str], bool], received: Received
    ) -> None:
        message = received.message
        request_id = message.get("id")
        key = (type(request_id), request_id) if isinstance(request_id, (str, int)) else None
        request = self._requests.get(key) if key else None
        if request is None and request_id is None:
            if "id" in message:
                check(16, False, 'an error with "id": null; the member is left out')
            expected = self._streams.get(received.where)
            if expected is not None and not self.expects_odd:
                check(4, False, f"the answer to request {expected.get('id')!r} names no id")
                check(16, False, f"the error names no id; the request's was {expected.get('id')!r}")
        elif request is None and not self.expects_odd:
            check(4, False, f"no request had the id {request_id!r} ({type(request_id).__name__})")
        elif key is not None and request is not None:
            check(4, True, "the id of the request")
            check(5, self.expects_odd or key not in self._answered, f"request {request_id!r} was answered twice")
            self._answered.add(key)
            if isinstance(message.get("result"), dict) and "task" in message["result"]:
                self._going.add(key)
            if "error" in message:
                check(16, True, "the error names its request")
        if received.where == "get":
            check(70, False, f"the standalone stream carries a response to {request_id!r}")
        if "result" in message and "error" in message:
            check(5, False, "both result and error")
        if "error" in message:
            self._error(conversation, check, message["error"])
        elif request is not None:
            self._result(conversation, check, request, message.get("result"))

    def _error(self, conversation: Conversation, check: Callable[[int, bool, str], bool], error: Any) -> None:
        is_whole = isinstance(error, dict) and type(error.get("code")) is int and isinstance(error.get("message"), str)
        if not check(6, is_whole, f"the error is {json.dumps(error)[:200]}"):
            return
        code = error["code"]
        if conversation.revision.is_envelope:
            is_reserved = -32099 <= code <= -32020 and code not in (-32020, -32021, -32022)
            is_gone = code in (-32002, -32042)
            check(15, not is_reserved and not is_gone, f"the code {code} is not to be sent")

    def _result(
        self, conversation: Conversation, check: Callable[[int, bool, str], bool], request: dict[str, Any], result: Any
    ) -> None:
        method = request["method"]
        if not check(5, isinstance(result, dict), f"the result of {method} is {json.dumps(result)[:100]}, no object"):
            return
        own = (request.get("params") or {}).get("_meta") or {}
        if conversation.revision.is_envelope and f"{META}protocolVersion" in own:
            kind = result.get("resultType")
            check(9, isinstance(kind, str), f"the result of {method} has the resultType {kind!r}")
            meta = result.get("_meta")
            info = meta.get(f"{META}serverInfo") if isinstance(meta, dict) else None
            check(34, isinstance(info, dict), f"the result of {method} does not say who the server is")
            if method in _CACHED and kind == "complete":
                ttl, scope = result.get("ttlMs"), result.get("cacheScope")
                is_hinted = type(ttl) is int and ttl >= 0 and scope in ("public", "private")
                check(174, is_hinted, f"{method}: ttlMs {ttl!r}, cacheScope {scope!r}")
            if kind == "input_required":
                self._input_required(conversation, check, request, result)
                return
        for rule, fault in faults_of(method, result, conversation.revision):
            check(rule, fault is None, fault or f"{method}: shape")

    def _input_required(
        self, conversation: Conversation, check: Callable[[int, bool, str], bool], request: dict[str, Any], result: Any
    ) -> None:
        method = request["method"]
        check(162, method in ("tools/call", "prompts/get", "resources/read"), f"{method} answered input_required")
        has_any = "inputRequests" in result or isinstance(result.get("requestState"), str)
        check(163, has_any, "neither inputRequests nor requestState")
        declared = ((request.get("params") or {}).get("_meta") or {}).get(f"{META}clientCapabilities") or {}
        for key, asked in (result.get("inputRequests") or {}).items():
            wanted = asked.get("method") if isinstance(asked, dict) else None
            if check(164, wanted in _ASKED, f"input {key!r} asks for {wanted!r}"):
                self._asks(conversation, check, str(wanted), asked.get("params") or {}, declared, 164)

    def _asks(
        self,
        conversation: Conversation,
        check: Callable[[int, bool, str], bool],
        method: str,
        params: dict[str, Any],
        declared: dict[str, Any],
        rule: int,
    ) -> None:
        capability = method.partition("/")[0]
        is_declared = capability in declared
        check(rule, is_declared, f"{method} was sent to a client without {capability!r}")
        check(148, is_declared or capability == "roots", f"{method} was sent to a client without {capability!r}")
        check(24, is_declared, f"{method} was sent to a client without {capability!r}")
        if method != "elicitation/create":
            if method == "sampling/createMessage" and ("tools" in params or "toolChoice" in params):
                has_tools = "tools" in (declared.get("sampling") or {})
                check(159, has_tools, "tools were sent to a client without sampling.tools")
            return
        if params.get("mode", "form") == "url":
            is_whole = isinstance(params.get("url"), str) and isinstance(params.get("message"), str)
            check(151, is_whole and "url" in (declared.get("elicitation") or {}), f"url elicitation: {params}")
            return
        schema = params.get("requestedSchema")
        form: dict[str, Any] = schema if isinstance(schema, dict) else {}
        properties = form.get("properties")
        is_flat = isinstance(properties, dict) and form.get("type") == "object"
        nested = [n for n, row in (properties or {}).items() if not _is_primitive(row)]
        check(152, is_flat and not nested, f"the form is no flat object of primitives: {json.dumps(schema)[:200]}")

    def _request(self, conversation: Conversation, check: Callable[[int, bool, str], bool], received: Received) -> None:
        message = received.message
        request_id = message["id"]
        if conversation.revision.is_envelope:
            for rule in (45, 49, 102):
                check(rule, False, f"the server sent a request: {received.method}")
            return
        if not check(
            1, isinstance(request_id, str) or type(request_id) is int, f"a request with the id {request_id!r}"
        ):
            return
        key = (type(request_id), request_id)
        check(2, key not in self._theirs, f"the server used the id {request_id!r} again")
        self._theirs.add(key)
        method = received.method or ""
        if method in _ASKED:
            self._asks(conversation, check, method, received.params, conversation.declared, 24)
        elif method != "ping" and not method.startswith("tasks/"):
            check(24, False, f"the server sent a request that no client knows: {method}")

    def _notification(
        self, conversation: Conversation, check: Callable[[int, bool, str], bool], received: Received
    ) -> None:
        method, params = received.method or "", received.params
        is_envelope = conversation.revision.is_envelope
        opened = self._streams.get(received.where) if received.where != "pipe" else None
        is_listening = opened is not None and opened.get("method") == "subscriptions/listen"
        if is_envelope:
            for rule in (45, 49, 102):
                check(rule, True, "no request from the server")
        if method == "notifications/progress":
            if is_listening:
                check(182, False, "progress on a listen stream")
            self._progressed(check, params)
        elif method == "notifications/message":
            if is_listening:
                check(182, False, "a log message on a listen stream")
            self._logged(conversation, check, params, opened)
        elif method in _CHANGES:
            capability, wanted = _CHANGES[method]
            declared = conversation.server_capabilities.get(capability) or {}
            check(138, bool(declared.get("listChanged")), f"{method}, though {capability}.listChanged was not declared")
            if is_envelope:
                self._heard(conversation, check, received, lambda f: bool(f.get(wanted)))
        elif method == "notifications/resources/updated" and is_envelope:
            uri = str(params.get("uri"))
            self._heard(conversation, check, received, lambda f: _is_watched(uri, f.get("resourceSubscriptions") or ()))
        elif method == "notifications/cancelled" and not is_envelope:
            named = params.get("requestId")
            check(145, (type(named), named) in self._theirs, f"a cancel for {named!r}, which the server never sent")
        elif method == "notifications/cancelled":
            cancelled = self._requests.get((type(params.get("requestId")), params.get("requestId")))
            is_listen = cancelled is not None and cancelled.get("method") == "subscriptions/listen"
            check(147, is_listen, f"the server cancelled {params.get('requestId')!r}, which is no listen request")
        if is_envelope and opened is not None and not is_listening:
            is_related = method in ("notifications/progress", "notifications/message")
            check(103, is_related, f"{method} on the stream of a {opened.get('method')} request")

    def _heard(
        self,
        conversation: Conversation,
        check: Callable[[int, bool, str], bool],
        received: Received,
        is_wanted: Callable[[dict[str, Any]], bool],
    ) -> None:
        meta = received.params.get("_meta")
        tag = meta.get(f"{META}subscriptionId") if isinstance(meta, dict) else None
        listen = self._requests.get((type(tag), tag)) if isinstance(tag, (str, int)) else None
        is_known = listen is not None and listen.get("method") == "subscriptions/listen"
        if check(180, is_known, f"{received.method} with the subscriptionId {tag!r}") and listen is not None:
            chosen = (listen.get("params") or {}).get("notifications") or {}
            check(181, is_wanted(chosen), f"{received.method} was not asked for: {json.dumps(received.params)[:200]}")

    def _progressed(self, check: Callable[[int, bool, str], bool], params: dict[str, Any]) -> None:
        token, value = params.get("progressToken"), params.get("progress")
        key = (type(token), token) if isinstance(token, (str, int)) else None
        last = self._progress.get(key) if key else None
        if last is None or key is None:
            check(143, False, f"progress for the token {token!r}, which no request gave")
            return
        number = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
        check(143, number is not None and number > last, f"progress {value!r} after {last!r}")
        if number is not None:
            self._progress[key] = number
        owner = [
            k
            for k, r in self._requests.items()
            if ((r.get("params") or {}).get("_meta") or {}).get("progressToken") == token
        ]
        is_live = not owner or any(k not in self._answered or k in self._going for k in owner)
        check(143, is_live, f"progress for the token {token!r} after the answer")

    def _logged(
        self,
        conversation: Conversation,
        check: Callable[[int, bool, str], bool],
        params: dict[str, Any],
        opened: dict[str, Any] | None,
    ) -> None:
        level = params.get("level")
        check(142, "logging" in conversation.server_capabilities, "a log message, though logging was not declared")
        if level not in _LEVELS:
            check(140, False, f"a log message of the level {level!r}")
            check(141, False, f"a log message of the level {level!r}")
            return
        if conversation.revision.is_envelope:
            live = [opened] if opened else [r for k, r in self._requests.items() if k not in self._answered]
            wanted = [((r.get("params") or {}).get("_meta") or {}).get(f"{META}logLevel") for r in live]
            is_wanted = any(w in _LEVELS and _LEVELS.index(level) >= _LEVELS.index(w) for w in wanted)
            check(141, is_wanted, f"a log message of the level {level!r}, asked for: {wanted}")


def _is_primitive(row: Any) -> bool:
    if not isinstance(row, dict):
        return False
    if row.get("type") == "array":
        items = row.get("items")
        return isinstance(items, dict) and ("enum" in items or "anyOf" in items)
    return row.get("type") in ("string", "number", "integer", "boolean")


def _is_watched(uri: str, watched: Any) -> bool:
    return any(uri == each or uri.startswith(str(each).rstrip("/") + "/") for each in watched)
