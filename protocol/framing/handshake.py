"""The opening handshake of WebSocket, RFC 6455 section 4, strictly; both sides, over heads that the HTTP gate has read.

wsproto's own handshake is not used: it answers 101 to HTTP/1.0, to keys that are none, and to heads of any size.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from .headers import Headers, is_token
from .httphead import HeadReader, HTTPLimits, Refused, RequestHead

__all__ = [
    "VERSION",
    "BadOffer",
    "ClientHandshake",
    "Offer",
    "Opened",
    "Refusal",
    "accept_headers",
    "is_upgrade",
    "read_offer",
]

VERSION: Final = b"13"
"""The only version of the protocol that was ever deployed."""
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")
"""The Base64 of 16 bytes, in its one right spelling."""
_DEFLATE = b"permessage-deflate"
_BITS = re.compile(rb"[89]|1[0-5]")
_MOST_EXTENSIONS = 16

Field = tuple[bytes, bytes]


class Offer(Struct, frozen=True):
    """What a client asks for that wants to open a connection."""

    key: bytes
    subprotocols: tuple[str, ...]
    """In the client's order; none twice."""
    takes_deflate: bool
    """It offers permessage-deflate in a way that we can agree to."""


class BadOffer(Struct, frozen=True):
    """A handshake that must be refused."""

    status: int
    reason: str
    """Our own words; nothing of the peer's."""


class Opened(Struct, frozen=True):
    """The server has agreed."""

    subprotocol: str | None
    is_deflated: bool
    trailing: bytes
    """What came behind its answer: frames already."""


class Refusal(Struct, frozen=True):
    """The server has not agreed, or did so in a way that is none."""

    status: int | None
    """What it answered; `None`: what it sent was no right answer."""
    reason: str
    """Our own words."""
    headers: Headers | None = None


def is_upgrade(headers: Headers) -> bool:
    """Tell whether a request asks for WebSocket, rightly or not."""
    offered = headers.get(b"upgrade")
    return offered is not None and b"websocket" in offered.lower()


def read_offer(head: RequestHead) -> Offer | BadOffer:
    """Return what a request asks for, or why it is refused."""
    headers = head.headers
    if head.method != "GET" or head.version != "1.1":
        return BadOffer(400, "a WebSocket is opened by GET and HTTP/1.1")
    if b"websocket" not in _list(headers, b"upgrade") or b"upgrade" not in _list(headers, b"connection"):
        return BadOffer(426, "this is a WebSocket: send Upgrade: websocket and Connection: Upgrade")
    if headers.get_all(b"sec-websocket-version") != [VERSION]:
        # "MUST … send a 426 … and include a Sec-WebSocket-Version" — RFC 6455 section 4.4
        return BadOffer(426, "Sec-WebSocket-Version must be 13")
    keys = headers.get_all(b"sec-websocket-key")
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        return BadOffer(400, "Sec-WebSocket-Key must be the Base64 of 16 bytes")
    if headers.get(b"transfer-encoding") is not None or headers.get(b"content-length") not in (None, b"0"):
        return BadOffer(400, "the request that opens a WebSocket has no body")
    names = _split(headers, b"sec-websocket-protocol")
    if not all(map(is_token, names)):
        return BadOffer(400, "Sec-WebSocket-Protocol is a list of tokens")
    subprotocols = tuple(name.decode() for name in dict.fromkeys(names))
    return Offer(keys[0], subprotocols, _takes_deflate(_split(headers, b"sec-websocket-extensions")))


def accept_headers(offer: Offer, subprotocol: str | None, *, is_deflated: bool = False) -> list[Field]:
    """Return the headers of the answer that agrees, but for `Connection`.

    Args:
        offer: what was asked for.
        subprotocol: one of those offered, or `None`.
        is_deflated: agree to compression; only where the offer takes it.
    """
    fields = [(b"upgrade", b"websocket"), (b"sec-websocket-accept", _accept(offer.key))]
    if subprotocol is not None:
        fields.append((b"sec-websocket-protocol", subprotocol.encode()))
    if is_deflated:
        fields.append((b"sec-websocket-extensions", _AGREED))
    return fields


_AGREED = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def _accept(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def _split(headers: Headers, name: bytes) -> list[bytes]:
    """Return the members of a header that is a list, over all its lines; an absent one has none."""
    values = headers.get_all(name)
    return [member.strip(b" \t") for member in b",".join(values).split(b",")] if values else []


def _list(headers: Headers, name: bytes) -> list[bytes]:
    return [member.lower() for member in _split(headers, name)]


def _takes_deflate(offers: Sequence[bytes]) -> bool:
    """Tell whether one of the offers of extensions is compression without context and with a window of 32 KiB."""
    return any(map(_is_our_deflate, offers[:_MOST_EXTENSIONS]))


def _is_our_deflate(offer: bytes) -> bool:
    name, *parameters = (part.strip(b" \t") for part in offer.split(b";"))
    found: dict[bytes, bytes | None] = {}
    for parameter in parameters:
        key, mark, value = parameter.partition(b"=")
        if key in found:
            return False
        found[key] = value.strip(b'"') if mark else None
    # We compress with the largest window; a client that cannot hold that is answered without compression.
    if name != _DEFLATE or found.pop(b"server_max_window_bits", b"15") != b"15":
        return False
    bits = found.pop(b"client_max_window_bits", None)
    if bits is not None and not _BITS.fullmatch(bits):
        return False
    takeovers = (b"server_no_context_takeover", b"client_no_context_takeover")
    return all(found.pop(key, None) is None for key in takeovers) and not found


class ClientHandshake:
    """The client's side: write `request`, feed what comes until it returns something.

    Args:
        target: path and query.
        authority: host and port, as `Host` has them.
        nonce: sixteen random bytes.
        headers: the user's own.
        subprotocols: in the order of our liking.
        is_deflate_offered: offer compression.
        limits: of the answer's head.
    """

    __slots__ = ("_buffer", "_heads", "_is_deflate_offered", "_key", "_subprotocols", "request")

    def __init__(
        self,
        target: str,
        authority: str,
        *,
        nonce: bytes,
        headers: Sequence[Field] = (),
        subprotocols: Sequence[str] = (),
        is_deflate_offered: bool = False,
        limits: HTTPLimits | None = None,
    ) -> None:
        self._key = base64.b64encode(nonce)
        self._subprotocols = tuple(subprotocols)
        self._is_deflate_offered = is_deflate_offered
        self._heads = HeadReader(limits or HTTPLimits(), is_server=False)
        self._buffer = bytearray()
        fields = [
            (b"Host", authority.encode()),
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Key", self._key),
            (b"Sec-WebSocket-Version", VERSION),
            *headers,
        ]
        if subprotocols:
            fields.append((b"Sec-WebSocket-Protocol", ", ".join(subprotocols).encode()))
        if is_deflate_offered:
            fields.append((b"Sec-WebSocket-Extensions", _AGREED))
        lines = b"".join([b"%b: %b\r\n" % field for field in fields])
        self.request = b"GET %b HTTP/1.1\r\n%b\r\n" % (target.encode(), lines)

    def receive_data(self, data: bytes) -> Opened | Refusal | None:
        """Take bytes; return how it ended, once it has."""
        self._buffer += data
        try:
            found = self._heads.read_response(self._buffer, is_bodiless=False)
        except Refused as refused:
            return Refusal(None, f"what answered is no HTTP server: {refused.reason}")
        if found is None:
            return None
        response, _, end = found
        if response.status != 101:
            return Refusal(response.status, f"answered with HTTP status {response.status}", response.headers)
        return self._read_answer(response.headers, bytes(self._buffer[end:]))

    def _read_answer(self, headers: Headers, trailing: bytes) -> Opened | Refusal:
        if _list(headers, b"upgrade") != [b"websocket"] or b"upgrade" not in _list(headers, b"connection"):
            return Refusal(None, "its answer upgrades to something else")
        if headers.get_all(b"sec-websocket-accept") != [_accept(self._key)]:
            return Refusal(None, "its answer is not one to our request")
        chosen = headers.get_all(b"sec-websocket-protocol")
        subprotocol = chosen[0].decode("latin-1") if chosen else None
        if len(chosen) > 1 or (subprotocol is not None and subprotocol not in self._subprotocols):
            # "MUST _Fail the WebSocket Connection_" — RFC 6455 section 4.1
            return Refusal(None, "it chose a subprotocol that was not offered")
        extensions = _split(headers, b"sec-websocket-extensions")
        if extensions and not (self._is_deflate_offered and len(extensions) == 1 and _is_agreed(extensions[0])):
            return Refusal(None, "it chose an extension that was not offered")
        return Opened(subprotocol, bool(extensions), trailing)

    def receive_eof(self) -> Refusal:
        """Take the end of the stream."""
        return Refusal(None, "hung up without an answer")


def _is_agreed(answer: bytes) -> bool:
    """Tell whether an answer is compression without context on the server's side, as was demanded."""
    name, *parts = (part.strip(b" \t") for part in answer.split(b";"))
    is_known = all(map(_AGREED_PART.fullmatch, parts))
    return name == _DEFLATE and is_known and b"server_no_context_takeover" in parts and len(set(parts)) == len(parts)


# A smaller window of the server's is no matter: what it sends is inflated with the largest.
_AGREED_PART = re.compile(rb"(?:server|client)_no_context_takeover|server_max_window_bits=\"?(?:[89]|1[0-5])\"?")
