"""Header fields: the multimap, tokens and white space of HTTP, and the values MCP mirrors into `Mcp-*` fields.

Pure functions. Which header a message must carry is for the bindings to say.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from msgspec import Struct

__all__ = [
    "ANNOTATION",
    "NO_HEADERS",
    "DuplicateHeader",
    "Headers",
    "InvalidMirror",
    "MirroredHeader",
    "compare_param",
    "decode_value",
    "encode_value",
    "is_token",
    "mirror_paths",
    "trim",
]

_OWS = b" \t"
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class DuplicateHeader(ValueError):
    """A header that may stand once stands twice; a proxy may have read the other one."""


class Headers:
    """Header fields in the order they came: immutable, their names in lower case and found in any case.

    Args:
        items: names and values.
        is_lower: the names are in lower case already.
    """

    __slots__ = ("_first", "_items", "_repeated", "memo")

    memo: Any
    """What a reader makes of these fields, kept with them because the same ones come again and again."""

    _first: dict[bytes, bytes]
    _items: list[tuple[bytes, bytes]]
    _repeated: dict[bytes, list[bytes]]

    def __init__(self, items: Iterable[tuple[bytes, bytes]] = (), *, is_lower: bool = False) -> None:
        self.memo = None
        self._items = list(items) if is_lower else [(_LOWER.get(name) or name.lower(), value) for name, value in items]
        self._first = dict(self._items)
        self._repeated = _NONE if len(self._first) == len(self._items) else self._find_repeated()

    def _find_repeated(self) -> dict[bytes, list[bytes]]:
        values: dict[bytes, list[bytes]] = {}
        for name, value in self._items:
            values.setdefault(name, []).append(value)
        self._first = {name: found[0] for name, found in values.items()}
        return {name: found for name, found in values.items() if len(found) > 1}

    def get(self, name: bytes) -> bytes | None:
        """Return the first value of a header, or `None`."""
        return self._first.get(name.lower())

    def get_all(self, name: bytes) -> list[bytes]:
        """Return every value of a header, in order."""
        name = name.lower()
        if name in self._repeated:
            return list(self._repeated[name])
        return [self._first[name]] if name in self._first else []

    def single(self, name: bytes) -> bytes | None:
        """Return the value of a header that may stand once, or `None`.

        Raises:
            DuplicateHeader: it stands more than once, be the values equal or not.
        """
        if self.is_repeated(name):
            raise DuplicateHeader(f"more than one {name.decode('latin-1')} header")
        return self._first.get(name.lower())

    def is_repeated(self, name: bytes) -> bool:
        """Tell whether a header stands more than once."""
        return name.lower() in self._repeated

    def __contains__(self, name: object) -> bool:
        return isinstance(name, bytes) and name.lower() in self._first

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._items == other._items

    def __hash__(self) -> int:
        return hash(tuple(self._items))

    def __repr__(self) -> str:
        # Names alone: a log must not show an Authorization header by accident.
        return f"Headers({[name for name, _ in self._items]})"


_NONE: dict[bytes, list[bytes]] = {}
# Names as the usual clients and servers spell them; a dictionary is faster than the making of another string.
_LOWER = {
    spelling: spelling.lower()
    for name in (
        b"Accept Accept-Encoding Accept-Language Authorization Cache-Control Connection Content-Encoding Content-Length"
        b" Content-Type Cookie Date Expect Host Last-Event-ID MCP-Protocol-Version Mcp-Method Mcp-Name Mcp-Session-Id"
        b" Origin Server Transfer-Encoding Upgrade User-Agent Vary WWW-Authenticate X-Accel-Buffering X-Forwarded-For"
    ).split()
    for spelling in (name, name.lower(), name.title())
}
NO_HEADERS = Headers()
"""No fields at all."""


def is_token(text: bytes) -> bool:
    """Tell whether text is a token, what names of headers and methods are made of — RFC 9110 section 5.6.2."""
    return _TOKEN.fullmatch(text) is not None


def trim(value: bytes) -> bytes:
    """Cut the optional white space around a header's value."""
    return value.strip(_OWS)


# Values that are mirrored: `Mcp-Name` and `Mcp-Param-*`.

_PREFIX = "=?base64?"
_SUFFIX = "?="
_SENTINEL = re.compile(rb"=\?base64\?(.*)\?=", re.DOTALL)
_SAFE = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")
_LEGAL = re.compile(rb"[\t -~]*")

LARGEST = 2**53 - 1
"""Largest integer that every JSON peer keeps exact, and thus the largest that may be mirrored, either sign."""


def encode_value(value: str | int | float | bool) -> bytes:
    """Return the header value that stands for an argument or a name.

    Args:
        value: text, an integer (a float without fraction is one, as in JSON), or a boolean.

    Raises:
        ValueError: an integer beyond ±(2^53 − 1), a fraction, or text with half a surrogate pair.
    """
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, str):
        if _SAFE.fullmatch(value) and not (value.startswith(_PREFIX) and value.endswith(_SUFFIX)):
            return value.encode()
        return b"=?base64?%b?=" % base64.b64encode(value.encode())
    if not -LARGEST <= value <= LARGEST or value != int(value):
        raise ValueError("only an integer within ±(2^53 − 1) can be mirrored into a header")
    return b"%d" % int(value)


def decode_value(raw: bytes) -> str:
    """Return the text that a header value stands for.

    "These markers are case-sensitive" — 2026-07-28 basic/transports/streamable-http#value-encoding; anything else than
    exactly `=?base64?…?=` stands for itself.

    Raises:
        ValueError: characters no plain value may have, or Base64 that is none or holds no UTF-8.
    """
    raw = trim(raw)
    if not _LEGAL.fullmatch(raw):
        raise ValueError("illegal characters in a header value")
    wrapped = _SENTINEL.fullmatch(raw)
    if wrapped is None:
        return raw.decode("ascii")
    encoded = wrapped.group(1)
    try:
        decoded = base64.b64decode(encoded, validate=True)
        text = decoded.decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError("a header value with bad Base64") from None
    if base64.b64encode(decoded) != encoded:
        # Two spellings of one value: what compares the encoded form would see another value than we do.
        raise ValueError("a header value with Base64 that is not canonical")
    return text


# Which arguments are mirrored.

ANNOTATION = "x-mcp-header"
"""The member of a property's schema that names the header its value is mirrored into."""

Kind = Literal["string", "integer", "boolean"]
_KINDS: dict[Any, Kind] = {"string": "string", "integer": "integer", "boolean": "boolean"}


class InvalidMirror(ValueError):
    """A tool's input schema annotates what cannot be mirrored; the tool is unusable over HTTP."""


class MirroredHeader(Struct, frozen=True, gc=False):
    """One argument that a header repeats."""

    name: str
    """The header's name as it is sent, `Mcp-Param-…`."""
    kind: Kind
    """The JSON Schema type of the argument."""


# Where a schema holds further schemas. Everything else (`default`, `enum`, `const`, `examples`) is data,
# whatever it looks like.
_ONE = frozenset(
    {
        "additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if",
        "items", "not", "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
    }
)  # fmt: skip
_MANY = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
_NAMED = frozenset({"$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties"})


def mirror_paths(input_schema: Mapping[str, Any]) -> dict[tuple[str, ...], MirroredHeader]:
    """Return the arguments that headers mirror, by their path through nested objects.

    Args:
        input_schema: the `inputSchema` of a tool, decoded.

    Raises:
        InvalidMirror: an annotation breaks a rule; its text says which and where.
    """
    found: dict[tuple[str, ...], MirroredHeader] = {}
    names: set[str] = set()
    # A path is `None` where no chain of `properties` alone leads to.
    pending: list[tuple[tuple[str, ...] | None, str, Mapping[str, Any]]] = [((), "#", input_schema)]
    while pending:
        path, place, schema = pending.pop()
        if ANNOTATION in schema:
            if not path:
                raise InvalidMirror(f"{place}: {ANNOTATION} on what is no property reached through `properties` alone")
            header = _mirrored(schema, place)
            if header.name.lower() in names:
                raise InvalidMirror(f"{place}: {ANNOTATION} {header.name!r} stands twice")
            names.add(header.name.lower())
            found[path] = header
        pending += _inside(path, place, schema)
    return found


def _mirrored(schema: Mapping[str, Any], place: str) -> MirroredHeader:
    name = schema[ANNOTATION]
    if not isinstance(name, str) or not name.isascii() or not is_token(name.encode()):
        raise InvalidMirror(f"{place}: {ANNOTATION} must be a header token")
    declared = schema.get("type")
    kind = _KINDS.get(declared) if isinstance(declared, str) else None
    if kind is None:
        raise InvalidMirror(f"{place}: {ANNOTATION} needs the type string, integer or boolean")
    return MirroredHeader(f"Mcp-Param-{name}", kind)


def _inside(
    path: tuple[str, ...] | None, place: str, schema: Mapping[str, Any]
) -> Iterator[tuple[tuple[str, ...] | None, str, Mapping[str, Any]]]:
    """Yield the schemas directly inside a schema."""
    for keyword, value in schema.items():
        inner: Iterable[tuple[Any, Any]] = ()
        if isinstance(value, Mapping):
            if keyword == "properties" or keyword in _NAMED:
                inner = value.items()
            elif keyword in _ONE:
                inner = [("", value)]
        elif isinstance(value, list) and keyword in _MANY:
            inner = enumerate(value)
        for name, child in inner:
            if isinstance(child, Mapping):
                is_static = keyword == "properties" and path is not None
                where = f"{place}/{keyword}/{name}" if name != "" else f"{place}/{keyword}"
                yield ((*path, name) if is_static and path is not None else None, where, child)


_INTEGER = re.compile(r"(-?(?:0|[1-9][0-9]{0,18}))(?:\.0{1,32})?")


def compare_param(header: str, value: str | int | float | bool, *, kind: Kind) -> bool:
    """Tell whether a header says what the body says.

    Args:
        header: the header's value, decoded.
        value: the argument as it stands in the body.
        kind: the type its schema declares; integers compare as numbers, so `42.0` equals `42`.
    """
    if isinstance(value, str):
        return header == value
    if isinstance(value, bool):
        return header == ("true" if value else "false")
    number = _INTEGER.fullmatch(header)
    return kind == "integer" and number is not None and int(number.group(1)) == value
