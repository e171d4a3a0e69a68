"""A request of the envelope era over HTTP: what its headers say is compared with what its body says.

"Servers that process the request body MUST reject requests where the values specified in the headers do not match the
corresponding values in the request body" — 2026-07-28 basic/transports/streamable-http#server-validation
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET

from ..eras import EnvelopeEra
from ..errors import ErrorCode, ErrorObject
from ..events import Context
from ..framing.headers import NO_HEADERS, DuplicateHeader, Headers, MirroredHeader, compare_param, decode_value, trim
from ..jsonrpc import DECODE_ERRORS
from ..meta import RequestMeta
from ..params import CallToolParams
from ..server import ServerEngine

__all__ = ["HTTPServerEngine", "Mirrors", "ToolMirrors"]

ToolMirrors = Mapping[tuple[str, ...], MirroredHeader]
"""The mirrored arguments of one tool, as `mirror_paths` finds them in its input schema."""

Mirrors = Mapping[str, ToolMirrors]
"""The mirrored arguments of each tool that has any, by the tool's name."""

_VERSION: Final = b"mcp-protocol-version"
_METHOD: Final = b"mcp-method"
_NAME: Final = b"mcp-name"
_SPELLED: Final = {_VERSION: "MCP-Protocol-Version", _METHOD: "Mcp-Method", _NAME: "Mcp-Name"}
_SHOWN = 200
_PLAIN = re.compile(rb"[A-Za-z0-9](?:[A-Za-z0-9/._:-]*[A-Za-z0-9])?")
"""Values that stand for themselves, without white space around them or anything encoded."""

_decode_arguments = msgspec.json.Decoder(dict[str, Any]).decode


def _mismatch(why: str) -> ErrorObject:
    return ErrorObject(ErrorCode.HEADER_MISMATCH, f"Header mismatch: {why}")


def _differs(name: str, sent: str, expected: str) -> ErrorObject:
    sent, expected = repr(sent[:_SHOWN]), repr(expected[:_SHOWN])
    return _mismatch(f"{name} header value {sent} does not match body value {expected}")


def _read_plain(headers: Headers) -> list[str | None]:
    """Return what the standard headers say; `None` for one that has to be looked at more closely."""
    return [None if headers.is_repeated(name) else _plain(headers.get(name)) for name in (_VERSION, _METHOD, _NAME)]


def _plain(value: bytes | None) -> str | None:
    return value.decode("ascii") if value is not None and _PLAIN.fullmatch(value) else None


class HTTPServerEngine(ServerEngine):
    """The engine of one POST of the envelope era."""

    headers: Headers = NO_HEADERS
    """Those of the request; set by whoever made the engine, as is `mirrors`."""
    mirrors: Mirrors

    def _admit(self, method: str, request_meta: RequestMeta, params: Any) -> Context | ErrorObject:
        # Whatever comes here was found to be of this era, be it by its header alone.
        if request_meta.protocol_version is UNSET and method == "initialize" and not self.profile.handshakes:
            # "the error … SHOULD name the versions" — 2026-07-28 basic/versioning: it is all an older client learns
            return self._handshake.admit(method, params)
        return (
            EnvelopeEra.lacking(request_meta)
            or self.check_transport(method, request_meta, params)
            or self._envelope.admit(request_meta, getattr(params, "meta", UNSET))
        )

    def check_transport(self, method: str, request_meta: RequestMeta, params: Any) -> ErrorObject | None:
        """Compare the standard headers with the body."""
        assert request_meta.protocol_version is not UNSET
        spec = self.profile.methods.get(method)
        plain = self.headers.memo
        if plain is None:
            plain = self.headers.memo = _read_plain(self.headers)
        if plain[0] == request_meta.protocol_version and plain[1] == method:
            if spec is None or spec.mirror is None:
                return None
            expected = getattr(params, spec.mirror, None)
            if expected is not None and plain[2] == expected:
                return None
        return self._explain(method, request_meta, params)

    def _explain(self, method: str, request_meta: RequestMeta, params: Any) -> ErrorObject | None:
        """Return what is wrong with headers that do not just say what the body says, if anything is."""
        assert request_meta.protocol_version is not UNSET
        error = self._compare(_VERSION, request_meta.protocol_version) or self._compare(_METHOD, method)
        if error is not None:
            return error
        spec = self.profile.methods.get(method)
        if spec is None or spec.mirror is None:
            return None
        sent = self._find(_NAME)
        if isinstance(sent, ErrorObject):
            return sent
        try:
            name = decode_value(sent)
        except ValueError as fault:
            return _mismatch(f"Mcp-Name: {fault}")
        expected = getattr(params, spec.mirror, None)
        # Params that cannot be read are refused as such, later.
        return None if expected is None or name == expected else _differs(_SPELLED[_NAME], name, expected)

    def _find(self, name: bytes) -> bytes | ErrorObject:
        try:
            value = self.headers.single(name)
        except DuplicateHeader:
            return _mismatch(f"{_SPELLED[name]} header is sent more than once")
        return _mismatch(f"{_SPELLED[name]} header is missing") if value is None else value

    def _compare(self, name: bytes, expected: str) -> ErrorObject | None:
        sent = self._find(name)
        if isinstance(sent, ErrorObject):
            return sent
        sent = trim(sent)
        return None if sent == expected.encode() else _differs(_SPELLED[name], sent.decode("latin-1"), expected)

    def check_arguments(self, params: Any) -> ErrorObject | None:
        """Compare the mirrored arguments with their headers."""
        mirrored = self.mirrors.get(params.name) if type(params) is CallToolParams else None
        if not mirrored:
            return None
        try:
            arguments = {} if params.arguments is UNSET else _decode_arguments(params.arguments)
        except DECODE_ERRORS as fault:
            return ErrorObject(ErrorCode.INVALID_PARAMS, f"Invalid params: arguments: {fault}")
        for path, header in mirrored.items():
            value: Any = arguments
            for step in path:
                value = value.get(step) if isinstance(value, dict) else None
            sent = self.headers.get_all(header.name.encode())
            if len(sent) > 1:
                return _mismatch(f"{header.name} header is sent more than once")
            # "Parameter value is null … Server MUST NOT expect the header" — the same page, #server-behavior-…
            if sent:
                try:
                    is_same = compare_param(decode_value(sent[0]), value, kind=header.kind)
                except ValueError as fault:
                    return _mismatch(f"{header.name}: {fault}")
                if not is_same:
                    return _mismatch(f"{header.name} header value does not match the argument {'.'.join(path)!r}")
            elif value is not None:
                return _mismatch(f"{header.name} header is missing")
        return None
