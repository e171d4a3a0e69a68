"""What one server and what one client is: shared by all engines of it, never changed."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from msgspec import UNSET, Raw

from . import meta, model
from .capabilities import ClientCapabilities, ServerCapabilities, has
from .engine import Engine, encode_meta
from .eras import EnvelopeEra
from .errors import ErrorCode, ErrorObject
from .inputs import StateSealer
from .limits import CLIENT_LIMITS, SERVER_LIMITS, Limits
from .methods import DECODERS, METHODS, TASKS_EXTENSION, MethodSpec, Role
from .revisions import REVISIONS, Era, Revision
from .tasks import TaskTable
from .types import Implementation

__all__ = ["ClientProfile", "ServerProfile"]

_OWN_CALLS = {"initialize": "start", "subscriptions/listen": "listen"}
"""Calls that the engine makes itself, and the method that makes them."""


def _check_extensions(declared: ClientCapabilities | ServerCapabilities) -> None:
    """Raise ValueError for the name of an extension that is none — 2026-07-28 basic/versioning#extensions."""
    for name in () if declared.extensions is UNSET else declared.extensions:
        if not meta.is_extension_id(name):
            raise ValueError(f"{name!r} is no name of an extension: it needs a prefix, as in `com.example/name`")


class ServerProfile:
    """What one server is: shared by all its engines, never changed.

    Args:
        info: name and version shown to clients.
        capabilities: what is offered, in the newest shape; a method whose capability is absent answers −32601.
        revisions: which revisions are served, by default all.
        instructions: text for the client's model.
        limits: bounds on what one client can make an engine hold.
        sealer: seals request state; needed to ask for input in the envelope era with state.
        tasks: the server's tasks; a subscription to others is not honoured.
        cache_hints: `(ttlMs, cacheScope)` by method, for cacheable results that carry none; default `(0, "private")`.
        methods: rows for methods beyond the specification's.
        arguments: decodes the arguments of some tools, by name, so that those of a repeated call are read once
            (`Request.arguments`). It raises for whatever it cannot read, and may change while the server runs.
        cancels_listens: send `notifications/cancelled` before the result when the server ends a subscription.

    Raises:
        ValueError: an extension's name is none.
    """

    def __init__(
        self,
        info: Implementation,
        capabilities: ServerCapabilities | None = None,
        *,
        revisions: Iterable[Revision] = REVISIONS,
        instructions: str | None = None,
        limits: Limits = SERVER_LIMITS,
        sealer: StateSealer | None = None,
        tasks: TaskTable | None = None,
        cache_hints: Mapping[str, tuple[int, str]] = MappingProxyType({}),
        methods: Iterable[MethodSpec] = (),
        arguments: Mapping[str, Callable[[Raw], Any]] = MappingProxyType({}),
        cancels_listens: bool = False,
    ) -> None:
        self.info = info
        self.capabilities = capabilities or ServerCapabilities()
        _check_extensions(self.capabilities)
        self.revisions = tuple(sorted(revisions, key=REVISIONS.index))
        self.instructions = instructions
        self.limits = limits
        self.sealer = sealer
        self.tasks = tasks
        self.arguments = arguments
        self.cancels_listens = cancels_listens
        self.handshakes = {r.name: r for r in self.revisions if r.era is Era.HANDSHAKE}
        self.envelopes = {r.name: r for r in self.revisions if r.era is Era.ENVELOPE}
        extra = {spec.name: spec for spec in methods}
        self.methods: Mapping[str, MethodSpec] = {**METHODS, **extra} if extra else METHODS
        decoders = {**DECODERS, **{s.name: model.decoder(s.params).decode for s in extra.values()}}
        self.decoders = {name: decode for name, decode in decoders.items() if self.methods[name].is_request}
        """Decodes the params of each request."""
        self._cache_hints = cache_hints
        self.gates = {r.name: self._gates_of(r, extra) for r in self.revisions}
        """By revision, the requests that a client may make, and the extension that it must have declared for each."""
        self.envelope_era = EnvelopeEra(self)

    def _gates_of(self, revision: Revision, extra: Mapping[str, MethodSpec]) -> dict[str, str | None]:
        rows = {}
        for name in revision.methods | extra.keys():
            spec = self.methods[name]
            path = revision.capability_of(name, spec.requires)
            if spec.is_request and spec.sender & Role.CLIENT and (path is None or has(self.capabilities, path)):
                own = revision.requires.get(name)
                rows[name] = own if own is not None and own.startswith("extensions:") else None
        return rows

    def cache_hint(self, method: str) -> tuple[int, str]:
        """Return `(ttlMs, cacheScope)` for results that carry none."""
        return self._cache_hints.get(method, (0, "private"))

    def unsupported(self, requested: str) -> ErrorObject:
        """Return the error for a revision that is not served; it names those that are."""
        data = {"supported": [r.name for r in reversed(self.revisions)], "requested": requested}
        return ErrorObject(ErrorCode.UNSUPPORTED_VERSION, "Unsupported protocol version", data)


class ClientProfile:
    """What one client is: shared by all its engines, never changed.

    Args:
        info: name and version shown to servers.
        capabilities: what servers may ask of this client.
        revisions: which revisions are spoken, by default all.
        limits: bounds on what one server can make an engine hold.
        sends_info: name the client in every envelope request.

    Raises:
        ValueError: there is no revision, or an extension's name is none.
    """

    def __init__(
        self,
        info: Implementation,
        capabilities: ClientCapabilities | None = None,
        *,
        revisions: Iterable[Revision] = REVISIONS,
        limits: Limits = CLIENT_LIMITS,
        sends_info: bool = True,
    ) -> None:
        self.info = info
        self.capabilities = capabilities or ClientCapabilities()
        _check_extensions(self.capabilities)
        self.revisions = tuple(sorted(revisions, key=REVISIONS.index))
        if not self.revisions:
            raise ValueError("a client speaks at least one revision")
        self.limits = limits
        self.handshakes = tuple(r for r in self.revisions if r.era is Era.HANDSHAKE)
        self.envelopes = tuple(r for r in self.revisions if r.era is Era.ENVELOPE)
        self.takes_tasks = has(self.capabilities, f"extensions:{TASKS_EXTENSION}")
        """A tool call may be answered with a task."""
        self._stamps = {r.name: self._stamp_of(r, sends_info) for r in self.envelopes}

    def _stamp_of(self, revision: Revision, sends_info: bool) -> bytes:
        identity: dict[str, Any] = {
            meta.PROTOCOL_VERSION: revision.name,
            meta.CLIENT_CAPABILITIES: Engine.adapt(self.capabilities, revision),
        }
        if sends_info:
            identity[meta.CLIENT_INFO] = self.info
        return encode_meta(identity)

    def stamp(self, revision: Revision) -> bytes:
        """Return the `_meta` members that every request of a revision carries, encoded, without braces."""
        return self._stamps.get(revision.name, b"")

    @staticmethod
    def refusal(method: str, revision: Revision, declared: ServerCapabilities) -> str | None:
        """Return why a client must not call a method of a server that declared this, `None` if it may."""
        spec = METHODS.get(method)
        if spec is None:
            return None  # an extension's method; the server knows
        if method in _OWN_CALLS:
            return f"{method} is sent by `{_OWN_CALLS[method]}`"
        if not (spec.is_request and spec.sender & Role.CLIENT) or method not in revision.methods:
            return f"{method} is not a request of a client in revision {revision.name}"
        path = revision.capability_of(method, spec.requires)
        if path is not None and not has(declared, path):
            # "MUST only use capabilities that were successfully negotiated" — basic/lifecycle#operation
            return f"the server did not declare {path}, which {method} needs"
        return None
