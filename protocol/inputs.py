"""Request state: what a server lets the client carry between two rounds of `input_required`, sealed.

"Servers MUST treat `requestState` as attacker-controlled" — 2026-07-28 basic/patterns/mrtr. The seal is HMAC-SHA256
over the state, its expiry, the principal, the method and a digest of the params. It protects, it does not hide: never
put a secret in it. Keys and wall-clock time come from the caller.

    text = base64url( key id 4 | expiry in seconds 8 | state | tag 32 )
"""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from .errors import ErrorCode, ErrorObject, LocalProtocolError, RemoteProtocolError
from .jsonrpc import DECODE_ERRORS
from .params import CallToolParams, GetPromptParams, ReadResourceParams

__all__ = ["StateSealer", "params_digest"]

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="sorted").encode

_KEY_ID = 4
_EXPIRY = 8
_TAG = 32
_LARGEST = 64 * 1024


def params_digest(method: str, params: Any) -> bytes:
    """Return a digest of what a request asks for: method, name or URI, and arguments, in canonical JSON."""
    asked: list[Any] = [method]
    if isinstance(params, CallToolParams):
        asked += [params.name, None if params.arguments is UNSET else _canonical(params.arguments)]
    elif isinstance(params, GetPromptParams):
        asked += [params.name, None if params.arguments is UNSET else params.arguments]
    elif isinstance(params, ReadResourceParams):
        asked += [params.uri]
    return hashlib.sha256(_encode(asked)).digest()


def _canonical(raw: Raw) -> Any:
    try:
        return _decode(raw)
    except DECODE_ERRORS:
        return bytes(raw).decode("utf-8", "replace")


class StateSealer:
    """Seals and opens request state.

    Args:
        keys: secrets of at least 32 bytes; the first seals, all open, so that keys can be rotated.
        lifetime: seconds until a sealed state expires.

    Raises:
        ValueError: no key, or one too short.
    """

    def __init__(self, keys: Sequence[bytes], *, lifetime: float = 600.0) -> None:
        if not keys or any(len(key) < 32 for key in keys):
            raise ValueError("request state needs one key or more, each of 32 bytes or more")
        self.lifetime = lifetime
        self._keys = {hashlib.sha256(b"key id" + key).digest()[:_KEY_ID]: key for key in keys}
        self._current = next(iter(self._keys))

    def seal(self, state: bytes, *, principal: str | None, method: str, params: Any, now: float) -> str:
        """Seal state for one principal, method and set of params; `now` is wall-clock time in seconds.

        Raises:
            LocalProtocolError: so much state that `open` would refuse it.
        """
        if len(state) > _LARGEST // 2:
            raise LocalProtocolError(f"more than {_LARGEST // 2} bytes of request state")
        head = self._current + int(now + self.lifetime).to_bytes(_EXPIRY, "big")
        tag = self._tag(self._keys[self._current], head + state, principal, method, params)
        return urlsafe_b64encode(head + state + tag).decode()

    def open(self, text: str, *, principal: str | None, method: str, params: Any, now: float) -> bytes:
        """Return the state that was sealed.

        Raises:
            RemoteProtocolError: −32602; the seal is broken, expired, or made for someone or something else. The peer
                is not told which.
        """
        data = b""
        if len(text) <= _LARGEST:
            try:
                data = urlsafe_b64decode(text.encode("ascii"))
            except ValueError:
                data = b""
        key = self._keys.get(data[:_KEY_ID])
        if key is None or len(data) < _KEY_ID + _EXPIRY + _TAG:
            raise _refused()
        sealed, tag = data[:-_TAG], data[-_TAG:]
        if not hmac.compare_digest(tag, self._tag(key, sealed, principal, method, params)):
            raise _refused()
        # base64 has spellings that decode alike; only the one we wrote is ours.
        if not hmac.compare_digest(urlsafe_b64encode(data), text.encode()):
            raise _refused()
        if int.from_bytes(sealed[_KEY_ID : _KEY_ID + _EXPIRY], "big") <= now:
            raise _refused()
        return sealed[_KEY_ID + _EXPIRY :]

    @staticmethod
    def _tag(key: bytes, sealed: bytes, principal: str | None, method: str, params: Any) -> bytes:
        who = b"\0" if principal is None else b"\1" + hashlib.sha256(principal.encode()).digest()
        return hmac.digest(key, who + params_digest(method, params) + sealed, "sha256")


def _refused() -> RemoteProtocolError:
    return RemoteProtocolError(ErrorObject(ErrorCode.INVALID_PARAMS, "requestState is invalid or expired"))
