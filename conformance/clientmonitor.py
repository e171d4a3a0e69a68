"""What is true of every message of a client, looked at whatever the scenario is about."""

from typing import Any

from protocol.jsonrpc import Malformed, decode
from protocol.limits import Limits

from .dialect import META, NAMED
from .monitor import Judge
from .schemas import RULE as SCHEMA
from .schemas import schema_faults
from .scripted import SESSION, Head, ScriptedServer

__all__ = ["ALWAYS_OF_CLIENTS", "ClientMonitor"]

ALWAYS_OF_CLIENTS = (
    1,
    2,
    3,
    5,
    6,
    8,
    14,
    17,
    18,
    22,
    26,
    28,
    29,
    45,
    47,
    48,
    59,
    60,
    68,
    79,
    84,
    93,
    99,
    108,
    144,
    145,
    225,
    SCHEMA,
)
_LIMITS = Limits(message_bytes=64 * 1024 * 1024, depth=512)


class ClientMonitor:
    """Holds each message of a client to the rules of `ALWAYS_OF_CLIENTS`."""

    def __init__(self, check: Judge) -> None:
        self.check = check
        self._ids: set[tuple[type, Any]] = set()
        self._tokens: set[tuple[type, Any]] = set()
        self._methods: list[str] = []
        self._initialize: Any = ...
        self.is_open = False

    def received(self, server: ScriptedServer, message: Any, raw: bytes, http: Head | None) -> None:
        """Look at a message."""
        line = server.transcript.last
        rules = server.revision
        try:
            raw.decode()
        except UnicodeDecodeError:
            self.check(8, False, "bytes that are no UTF-8", line)
            return
        self.check(8, True, "UTF-8", line)
        for rule in (47, 225):
            self.check(rule, isinstance(message, (dict, list)), f"no message: {raw[:80]!r}", line)
        if isinstance(message, list):
            if not rules.batching:
                self.check(14, False, "a batch was sent", line)
            self.check(108, False, "an array was sent", line)
            return
        self.check(14, True, "no batch", line)
        found = decode(raw, _LIMITS)
        if isinstance(found, Malformed):
            is_response = isinstance(message, dict) and ("result" in message or "error" in message)
            self.check(5 if is_response else 1, False, found.error.message, line)
        if not isinstance(message, dict):
            self.check(59, False, f"a POST without a message: {raw[:80]!r}", line)
            return
        self.check(1, message.get("jsonrpc") == "2.0", f"jsonrpc is {message.get('jsonrpc')!r}", line)
        self.check(59, True, "one message", line)
        faults = schema_faults(message, rules, server.sent.get(message.get("id")) if "method" not in message else None)
        what = message.get("method") or "a response"
        for fault in faults or ():
            self.check(SCHEMA, False, f"{what}: {fault}", line)
        if faults == []:
            self.check(SCHEMA, True, f"{what} fits the schema", line)
        if "method" in message and "id" in message:
            self._request(server, message, line)
        elif "method" in message:
            self._notification(server, message, line)
        else:
            if rules.is_envelope:
                for rule in (45, 48, 108):
                    self.check(rule, False, "the client sent a response", line)
            self.check(5, ("result" in message) != ("error" in message), "result and error", line)
            error = message.get("error")
            if error is not None:
                is_whole = (
                    isinstance(error, dict) and type(error.get("code")) is int and isinstance(error.get("message"), str)
                )
                self.check(6, is_whole, f"the error is {error!r}", line)

    def _request(self, server: ScriptedServer, message: dict[str, Any], line: int) -> None:
        rules, request_id, method = server.revision, message["id"], message["method"]
        if not self.check(1, isinstance(request_id, str) or type(request_id) is int, f"the id {request_id!r}", line):
            return
        key = (type(request_id), request_id)
        if rules.is_envelope:
            busy = [c for c in server.calls if not c.is_done and c.message.get("id") == request_id]
            self.check(3, not busy, f"the id {request_id!r} is in use", line)
            for rule in (45, 48, 108):
                self.check(rule, True, "a request", line)
        else:
            # The handshake that follows a 404 begins another session.
            if method == "initialize":
                self._ids.clear()
            self.check(2, key not in self._ids, f"the id {request_id!r} was used before", line)
        self._ids.add(key)
        params = _object(message.get("params"))
        meta = _object(params.get("_meta"))
        if rules.is_envelope and method != "initialize":
            version, able = meta.get(f"{META}protocolVersion"), meta.get(f"{META}clientCapabilities")
            is_whole = isinstance(version, str) and isinstance(able, dict)
            self.check(28, is_whole, f"{method}: protocolVersion {version!r}, clientCapabilities {able!r}", line)
            self.check(29, isinstance(meta.get(f"{META}clientInfo"), dict), f"{method} does not say who asks", line)
        elif not rules.is_envelope and method not in ("server/discover", "ping"):
            self._lifecycle(server, method, params, line, request_id)
        token = meta.get("progressToken")
        if token is not None:
            self.check(144, isinstance(token, str) or type(token) is int, f"the progress token {token!r}", line)
            busy = [c for c in server.calls if not c.is_done and c.meta.get("progressToken") == token]
            self.check(144, not busy, f"the progress token {token!r} is in use", line)
        self._methods.append(method)

    def _lifecycle(
        self, server: ScriptedServer, method: str, params: dict[str, Any], line: int, request_id: Any
    ) -> None:
        if method == "initialize":
            self._initialize = request_id
            info = _object(params.get("clientInfo"))
            is_whole = isinstance(params.get("capabilities"), dict)
            is_whole = is_whole and all(isinstance(info.get(name), str) for name in ("name", "version"))
            self.check(17, is_whole, f"initialize: {params}", line)
            self.check(18, isinstance(params.get("protocolVersion"), str), f"initialize: {params}", line)
        else:
            self.check(17, "initialize" in self._methods, f"{method} before initialize", line)
            self.check(22, self.is_open, f"{method} before notifications/initialized", line)

    def _notification(self, server: ScriptedServer, message: dict[str, Any], line: int) -> None:
        if message["method"] == "notifications/initialized":
            self.is_open = True
            self.check(22, "initialize" in self._methods, "notifications/initialized before initialize", line)
        if message["method"] == "notifications/cancelled":
            named = (message.get("params") or {}).get("requestId")
            self.check(26, named != self._initialize, "initialize was cancelled", line)
            is_known = (type(named), named) in self._ids
            self.check(145, is_known, f"a cancel for {named!r}, which was never sent", line)

    def misframed(self, server: ScriptedServer, why: str) -> None:
        """Look at a WebSocket that ended because its frames were wrong."""
        self.check(225, False, f"the frames break RFC 6455: {why}", server.transcript.last)

    def head(self, server: ScriptedServer, http: Head, message: Any) -> None:
        """Look at the head of an HTTP request."""
        line, rules = server.transcript.last, server.revision
        accept = http.get("accept") or ""
        if http.method == "GET":
            self.check(68, "text/event-stream" in accept, f"GET with Accept {accept!r}", line)
        method = message.get("method") if isinstance(message, dict) else None
        if http.method == "POST":
            both = "application/json" in accept and "text/event-stream" in accept
            self.check(60, both, f"POST with Accept {accept!r}", line)
        if rules.is_envelope:
            if isinstance(message, dict) and method != "initialize":
                self._envelope(http, message, line)
            return
        if method in ("initialize", "server/discover") or http.target != "/mcp":
            return
        if server.has_sessions and rules.letter != "A":
            name = http.get("mcp-session-id")
            self.check(79, name == SESSION, f"{http.method} {method or ''} with the session id {name!r}", line)
        if rules.version_header:
            version = http.get("mcp-protocol-version")
            self.check(84, version == rules.name, f"{http.method} {method or ''} with the version {version!r}", line)

    def _envelope(self, http: Head, message: dict[str, Any], line: int) -> None:
        params = _object(message.get("params"))
        meta = _object(params.get("_meta"))
        wanted = meta.get(f"{META}protocolVersion")
        version = http.get("mcp-protocol-version")
        self.check(
            93, version is not None and version == wanted, f"the header says {version!r}, the body {wanted!r}", line
        )
        method = message.get("method")
        if "id" not in message:
            return
        told = http.get("mcp-method")
        self.check(99, told == method, f"Mcp-Method is {told!r}, the method {method!r}", line)
        key = NAMED.get(str(method))
        if key is not None:
            self.check(99, http.get("mcp-name") is not None, f"{method} without Mcp-Name", line)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
