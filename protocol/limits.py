"""Bounds on everything a peer can make us hold or do; safe defaults, each configurable."""

from msgspec import Struct

__all__ = ["CLIENT_LIMITS", "SERVER_LIMITS", "Limits"]


class Limits(Struct, frozen=True, kw_only=True):
    """Limits of one connection: sizes and counts, as the names say; the length of text is counted in characters."""

    message_bytes: int = 4 * 1024 * 1024
    """Largest message accepted. Excess: the codec skips the message and reports it."""
    depth: int = 128
    """Deepest JSON nesting accepted. Excess: −32700."""
    id_bytes: int = 1024
    """Longest string id. Excess: −32600 without id."""
    method_bytes: int = 256
    """Longest method name. Excess: −32600."""
    name_bytes: int = 256
    """Longest tool or prompt name. Excess: −32602."""
    cursor_bytes: int = 4096
    """Longest pagination cursor. Excess: −32602."""
    token_bytes: int = 256
    """Longest string progress token. Excess: −32602."""
    batch_entries: int = 50
    """Most members of a batch (2025-03-26 only). Excess: −32600."""
    requests: int = 64
    """Most inbound requests in flight. Excess: error 1503, the others undisturbed."""
    calls: int = 1024
    """Most outbound calls in flight. Excess: `LocalProtocolError`."""
    subscriptions: int = 64
    """Most live `subscriptions/listen` requests; they do not count as requests in flight. Excess: −32602."""
    subscription_uris: int = 1000
    """Most resource URIs watched by one subscription or one handshake connection. Excess: −32602."""
    stray_responses: int = 1000
    """Most answers to ids never asked. Excess: the connection is closed."""
    contexts: int = 256
    """Most distinct `_meta` identities remembered; a cache, so excess only costs time."""
    input_rounds: int = 16
    """Most `input_required` rounds a client follows for one call."""
    tasks: int = 1000
    """Most tasks a server keeps for one principal, ended ones included. Excess: error 1503."""
    all_tasks: int = 10_000
    """Most tasks a server keeps at all. Excess: error 1503."""


SERVER_LIMITS = Limits()
"""Defaults of the server role."""

CLIENT_LIMITS = Limits(message_bytes=16 * 1024 * 1024)
"""Defaults of the client role, which trusts its server with larger messages."""
