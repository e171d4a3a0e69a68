"""The JSON door: bytes to `Envelope` and back, the four message kinds, batches. The only file that decodes envelopes.

One parse decides everything: `params` and `result` stay raw until their method's type is known. Whatever bytes come in,
`decode` returns an `Envelope` or a `Malformed` and never raises.
"""

import re
from typing import Any, final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from .errors import ErrorCode, ErrorObject
from .limits import Limits

__all__ = [
    "DECODE_ERRORS",
    "MOST_DIGITS",
    "Envelope",
    "Malformed",
    "RequestId",
    "decode",
    "duplicate_member",
    "encode_error",
    "encode_id",
    "encode_notification",
    "encode_request",
    "encode_result",
    "is_compact_call",
    "is_too_deep",
    "is_utf8",
    "is_valid_id",
    "split_batch",
    "with_id",
]

RequestId = int | str

DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Everything a msgspec decoder raises for bad input; `ValidationError` derives from `DecodeError`."""

_MAX_INT = 2**63
_encode_json = msgspec.json.Encoder().encode


class Envelope(Struct, gc=False):
    """One decoded message: a request, a notification, a result or an error, by the members present."""

    jsonrpc: str = ""
    id: int | str | UnsetType = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


@final
class Malformed(Struct, frozen=True):
    """Bytes that are no JSON-RPC message, with the error they deserve."""

    error: ErrorObject
    id: int | str | UnsetType = UNSET
    """The id, where it could be read."""
    is_response: bool = False
    """It looked like a response; nobody ever answers a response."""


class _Loose(Struct, gc=False):
    """The same members with nothing assumed of their types, to find out what was wrong."""

    jsonrpc: Raw | UnsetType = UNSET
    id: Raw | UnsetType = UNSET
    method: Raw | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


_decode_envelope = msgspec.json.Decoder(Envelope).decode
_decode_loose = msgspec.json.Decoder(_Loose).decode
_decode_id = msgspec.json.Decoder(int | str).decode
_decode_any = msgspec.json.Decoder().decode
_decode_batch = msgspec.json.Decoder(list[Raw]).decode


def _parse_error(why: str) -> Malformed:
    return Malformed(ErrorObject(ErrorCode.PARSE_ERROR, f"Parse error: {why}"))


def is_valid_id(value: Any, limits: Limits) -> bool:
    """Tell whether a decoded id or token is within bounds (±2^63, or at most `limits.id_bytes` of text)."""
    if type(value) is int:
        return -_MAX_INT <= value < _MAX_INT
    return len(value) <= limits.id_bytes


def decode(data: bytes, limits: Limits) -> Envelope | Malformed:
    """Decode one JSON-RPC message.

    Args:
        data: one whole JSON text, UTF-8, without a framing newline. Must be `bytes`: raw members keep a view of it.
        limits: depth and id bounds.

    Returns:
        The envelope; its `jsonrpc`, id range, member combination and member names are checked.
    """
    try:
        envelope = _decode_envelope(data)
    except DECODE_ERRORS as error:
        return _explain(data, error)
    # Raw members were skipped: that finds broken escapes, half a surrogate pair among them, and leaves the bytes of
    # text unread. They are checked here, once, for the whole message.
    if not data.isascii() and not is_utf8(data):
        return _parse_error("invalid UTF-8")
    if is_too_deep(data, limits.depth):
        return _parse_error(f"nested deeper than {limits.depth} levels")
    size = len(data)
    request_id, method = envelope.id, envelope.method
    if type(request_id) is int and 0 <= request_id < _USUAL_ID and envelope.jsonrpc == "2.0":
        # The lengths of the usual members and of what stands between them leave no room for another.
        if method is not UNSET:
            if envelope.params is not UNSET and len(method) <= limits.method_bytes:
                if size == _BARE_REQUEST + len(str(request_id)) + len(method) + len(envelope.params):
                    return envelope
        elif envelope.result is not UNSET:
            if size == _BARE_RESULT + len(str(request_id)) + len(envelope.result):
                return envelope
    return _check(envelope, data, limits)


def is_utf8(data: bytes) -> bool:
    """Tell whether bytes are UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


_LONG = 4096
MOST_DIGITS = 15
"""Of a usual id."""
_USUAL_ID = 10**MOST_DIGITS
_BARE_REQUEST = len('{"jsonrpc":"2.0","id":,"method":"","params":}')
_BARE_RESULT = len('{"jsonrpc":"2.0","id":,"result":}')


def is_too_deep(data: bytes, depth: int) -> bool:
    """Tell whether brackets nest deeper; most texts are too short for that, or have too few of them."""
    size = len(data)
    if size <= 2 * depth:
        return False
    if not (data.count(b"{") + data.count(b"[") > depth if size < _LONG else _has_many_brackets(data, depth)):
        return False
    return _nests(data, depth)


def _has_many_brackets(data: bytes, depth: int) -> bool:
    """Tell whether a long text has brackets enough for a nesting that is too deep."""
    # Counting takes longer than decoding it; few searches find that it has hardly any.
    found = 0
    for bracket in (b"{", b"["):
        at = data.find(bracket)
        while at >= 0:
            found += 1
            if found > depth:
                return True
            at = data.find(bracket, at + 1)
    return False


def _check(envelope: Envelope, data: bytes, limits: Limits) -> Envelope | Malformed:
    request_id = envelope.id
    method = envelope.method
    is_response = method is UNSET and (envelope.result is not UNSET or envelope.error is not UNSET)
    why = None
    if request_id is not UNSET and not is_valid_id(request_id, limits):
        request_id = UNSET
        why = "id out of range"
    elif envelope.jsonrpc != "2.0":
        why = 'jsonrpc must be "2.0"'
    elif method is UNSET:
        if not is_response:
            why = "neither method, result nor error"
        elif (envelope.result is UNSET) == (envelope.error is UNSET):
            # "Either a result or an error MUST be set … MUST NOT set both" — basic#responses
            why = "both result and error"
        elif request_id is UNSET and envelope.error is UNSET:
            why = "response without id"
    elif len(method) > limits.method_bytes:
        why = "method name too long"
    elif envelope.result is not UNSET or envelope.error is not UNSET:
        why = "method beside result or error"
    if why is None and not _is_compact(envelope, data):
        twice = duplicate_member(data, envelope.params, envelope.result)
        if twice is not None:
            why = f"duplicate member {twice!r}"
            request_id = UNSET if twice == "id" else request_id
    if why is None:
        return envelope
    return Malformed(ErrorObject(ErrorCode.INVALID_REQUEST, f"Invalid request: {why}"), request_id, is_response)


def _explain(data: bytes, error: Exception) -> Malformed:
    """Tell bad JSON (−32700) from a bad message (−32600), and recover the id where there is one."""
    if not isinstance(error, msgspec.ValidationError):
        return _parse_error(_reason(error))
    try:
        _decode_any(data)  # the typed decode may have stopped before a syntax error further on
        loose = _decode_loose(data)
    except msgspec.ValidationError:
        return Malformed(ErrorObject(ErrorCode.INVALID_REQUEST, "Invalid request: not a JSON object"))
    except DECODE_ERRORS as syntax:
        return _parse_error(_reason(syntax))
    request_id: int | str | UnsetType = UNSET
    if loose.id is not UNSET:
        try:
            request_id = _decode_id(loose.id)
        except msgspec.ValidationError:
            pass
    is_response = loose.method is UNSET and (loose.result is not UNSET or loose.error is not UNSET)
    return Malformed(
        ErrorObject(ErrorCode.INVALID_REQUEST, f"Invalid request: {_reason(error)}"), request_id, is_response
    )


def _reason(error: Exception) -> str:
    """One line about a decoder's error; never text of the peer's."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "invalid UTF-8"
    return str(error)


def _nests(data: bytes, limit: int) -> bool:
    """Tell whether brackets outside strings nest deeper than `limit`, in time proportional to the bytes."""
    text = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    structure = b"".join(text.split(b'"')[::2]).translate(_ONE_KIND, delete=_NOT_BRACKETS)
    # Each round removes every innermost pair, hence one level.
    for _ in range(limit):
        structure = structure.replace(b"[]", b"")
        if not structure:
            return False
    return True


_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")


# Members that appear twice: a proxy that reads the first would see another message than we do, so they are refused.
# Finding them costs a scan of the member names; two lengths prove for the common spellings that none can be there.

_SPACED_START = b'{"jsonrpc": "2.0", "'
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:]')
_SHORT = 64


def _is_compact(envelope: Envelope, data: bytes) -> bool:
    """Tell from its length alone that a message holds its members once and nothing else."""
    request_id = envelope.id
    least = len('{"jsonrpc":"2.0"}')
    spaces = 1
    if request_id is not UNSET:
        if type(request_id) is not int:
            return False
        least += len(',"id":') + len(str(request_id))
        spaces += 2
    if envelope.method is not UNSET:
        least += len(',"method":""') + len(envelope.method)
        spaces += 2
    value = envelope.params
    if value is not UNSET:
        least += len(',"params":') + len(value)
        spaces += 2
    value = envelope.result
    if value is not UNSET:
        least += len(',"result":') + len(value)
        spaces += 2
    # `json.dumps` puts `spaces` into a message (7 at most); a second member takes 7 bytes, and the start proves two
    # of them to be spaces.
    return len(data) == least or (len(data) == least + spaces and data.startswith(_SPACED_START))


def is_compact_call(raw: Raw, name: str, arguments: Raw | UnsetType, meta: Raw | UnsetType) -> bool:
    """Tell from its length alone that `tools/call` params hold `name`, `arguments` and `_meta` at most once each."""
    if arguments is not UNSET and meta is not UNSET:
        # As nearly every call is written.
        if len(raw) == len('{"name":"","arguments":,"_meta":}') + len(name) + len(arguments) + len(meta):
            return True
    least = len('{"name":""}') + len(name)
    spaces = 1
    if arguments is not UNSET:
        least += len(',"arguments":') + len(arguments)
        spaces = 3
    if meta is not UNSET:
        least += len(',"_meta":') + len(meta)
        spaces += 2
    size = len(raw)
    return size == least or (size == least + spaces and bytes(raw).startswith(b'{"name": "'))


def duplicate_member(data: bytes | Raw, *values: Raw | UnsetType) -> str | None:
    """Find a member name that an object holds twice, at the object's own level.

    Args:
        data: a JSON object, already known to be well-formed.
        values: raw members inside it; long ones are cut out first, so that their size does not count.
    """
    text = bytes(data)
    for value in values:
        if value is not UNSET and len(value) > _SHORT:
            text = text.replace(bytes(value), b"0", 1)
    seen: set[bytes] = set()
    depth = 0
    last = b""
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token == b":":
            if depth == 1:
                name = _encode_json(_decode_any(last)) if b"\\" in last else last
                if name in seen:
                    return str(_decode_any(last))
                seen.add(name)
        elif token in b"{[":
            depth += 1
        elif token in b"}]":
            depth -= 1
        else:
            last = token
    return None


def split_batch(data: bytes, limits: Limits) -> list[bytes] | Malformed | None:
    """Split a batch into its members' bytes; `None` when `data` is no array.

    An empty or overlong array is an invalid request — JSON-RPC 2.0 section 6.
    """
    if data.lstrip(b" \t\r\n")[:1] != b"[":
        return None
    try:
        members = _decode_batch(data)
    except DECODE_ERRORS as error:
        return _parse_error(_reason(error))
    if not 0 < len(members) <= limits.batch_entries:
        why = f"a batch holds 1 to {limits.batch_entries} messages"
        return Malformed(ErrorObject(ErrorCode.INVALID_REQUEST, f"Invalid request: {why}"))
    return [bytes(member) for member in members]


def encode_id(request_id: RequestId) -> bytes:
    """Encode an id with its JSON type."""
    return b"%d" % request_id if type(request_id) is int else _encode_json(request_id)


def encode_result(request_id: RequestId, *result: bytes | memoryview) -> bytes:
    """Wrap an encoded result object, which may come in pieces: formatting takes 50 us for 100 kB, joining takes 3."""
    text = b"%d" % request_id if type(request_id) is int else _encode_json(request_id)
    return b"".join((b'{"jsonrpc":"2.0","id":', text, b',"result":', *result, b"}"))


def encode_error(request_id: RequestId | UnsetType, error: ErrorObject) -> bytes:
    """Wrap an error object; the id member is omitted, never null, when it could not be read."""
    body = _encode_json(error)
    if request_id is UNSET:
        return b'{"jsonrpc":"2.0","error":%b}' % body
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (encode_id(request_id), body)


def encode_request(request_id: RequestId, method: str, params: bytes) -> bytes:
    """Wrap encoded params as a request; `b""` leaves `params` out."""
    head = b'{"jsonrpc":"2.0","id":%b,"method":%b' % (encode_id(request_id), _encode_json(method))
    return b'%b,"params":%b}' % (head, params) if params else head + b"}"


def with_id(request: bytes, request_id: RequestId) -> bytes:
    """Return a request that `encode_request` made, under another id."""
    rest = request.partition(b',"method":')[2]
    return b'{"jsonrpc":"2.0","id":%b,"method":%b' % (encode_id(request_id), rest)


def encode_notification(method: str, params: bytes) -> bytes:
    """Wrap encoded params as a notification; `b""` leaves `params` out."""
    head = b'{"jsonrpc":"2.0","method":%b' % _encode_json(method)
    return b'%b,"params":%b}' % (head, params) if params else head + b"}"
