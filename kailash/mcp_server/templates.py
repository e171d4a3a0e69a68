"""RFC 6570 URI templates, in both directions.

`expand` follows the RFC to level 4. The RFC leaves matching open; ours is defined here:

- The text of a variable is what stands between its neighbours; where several readings fit, earlier
  variables are as short as possible.
- `{var}` takes at least one character and never `/`, `?` or `#`; `{+var}` and `{#var}` take anything.
- Expressions with a prefix (`.`, `/`, `;`, `?`, `&`, `#`) may be absent as a whole, and in lists
  from the end. Query and path parameters come in any order, unknown ones match nothing.
- A variable with `*` gives a list, every other one a string, percent-decoded once.
- A value that could leave its place in a path (`..`, an absolute path, `\\`, a drive letter, NUL, an
  encoded `/` where one segment is meant) matches nothing.

Matching runs over bit sets, one bit per position in the URI, so a hostile URI costs what any other
of its length does: there is nothing to backtrack into.
"""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

MAX_TEMPLATE = 8 * 1024
MAX_URI = 64 * 1024
MAX_VARIABLES = 256

_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_RESERVED = frozenset(":/?#[]@!$&'()*+,;=")
_PRINTABLE = frozenset(chr(code) for code in range(0x21, 0x7F)) | {" "}
_SEGMENT = _PRINTABLE - frozenset("/?#")
_QUERY = _PRINTABLE - frozenset("#")

_NAME = re.compile(r"(?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2})(?:\.?(?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2}))*\Z")
_PERCENT = re.compile(r"%[0-9A-Fa-f]{2}")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DRIVE = re.compile(r"[A-Za-z]:")

Value = str | int | float | bool | None | Sequence[Any] | Mapping[str, Any]


class _Operator(msgspec.Struct, frozen=True):
    """One row of the RFC's table in appendix A, and what matching adds to it."""

    first: str
    separator: str
    named: bool
    if_empty: str
    keeps_reserved: bool
    allowed: frozenset[str]
    """Characters a value may consist of in a URI to be matched."""
    holds_slash: bool
    """True when a decoded value may contain `/`."""


_OPERATORS = {
    "": _Operator("", ",", False, "", False, _SEGMENT, False),
    "+": _Operator("", ",", False, "", True, _PRINTABLE, True),
    "#": _Operator("#", ",", False, "", True, _PRINTABLE, True),
    ".": _Operator(".", ".", False, "", False, _SEGMENT, False),
    "/": _Operator("/", "/", False, "", False, _SEGMENT, False),
    ";": _Operator(";", ";", True, "", False, _SEGMENT, False),
    "?": _Operator("?", "&", True, "=", False, _QUERY, True),
    "&": _Operator("&", "&", True, "=", False, _QUERY, True),
}


class _Variable(msgspec.Struct, frozen=True):
    name: str
    explode: bool = False
    prefix: int | None = None


class _Expression(msgspec.Struct, frozen=True):
    operator: _Operator
    variables: tuple[_Variable, ...]


class _Run(msgspec.Struct, frozen=True):
    """At least one character of a set, read as the value of one variable or of a whole query."""

    allowed: frozenset[str]
    expression: _Expression
    variable: _Variable | None
    """None when the text holds `name=value` pairs of the whole expression."""


class _Edge(msgspec.Struct, frozen=True):
    """A way into a state of the matcher: over text, over a run, or over nothing."""

    source: int
    over: str | _Run


class Template:
    """A parsed URI template."""

    __slots__ = ("_edges", "_parts", "text", "variables")

    def __init__(self, text: str) -> None:
        if len(text.encode()) > MAX_TEMPLATE:
            raise ValueError(f"URI template longer than {MAX_TEMPLATE} bytes")
        self.text = text
        self._parts = tuple(_parse(text))
        found = [variable.name for part in self._parts if isinstance(part, _Expression) for variable in part.variables]
        if len(found) > MAX_VARIABLES:
            raise ValueError(f"URI template with more than {MAX_VARIABLES} variables")
        self.variables: tuple[str, ...] = tuple(dict.fromkeys(found))
        """The names in the order of their first appearance."""
        self._edges = _compile(self._parts)

    def __repr__(self) -> str:
        return f"Template({self.text!r})"

    def expand(self, values: Mapping[str, Value]) -> str:
        """Fill in values; what is missing or None is left out, as the RFC says."""
        return "".join(part if isinstance(part, str) else _expand(part, values) for part in self._parts)

    def match(self, uri: str) -> dict[str, str | list[str]] | None:
        """Find the values that lead to `uri`; None when there are none, or none that are safe.

        Raises:
            ValueError: The URI is longer than any this library handles.
        """
        if len(uri) > MAX_URI:
            raise ValueError(f"URI longer than {MAX_URI} characters")
        first = self._parts[0] if self._parts else ""
        normal = _normal(uri)
        if normal is None or (isinstance(first, str) and not normal.startswith(first)):
            return None
        if len(normal) > 3 * MAX_URI:
            raise ValueError(f"URI longer than {MAX_URI} characters")
        found: dict[str, str | list[str]] = {}
        prefixes: list[tuple[_Variable, str]] = []
        runs = _walk(self._edges, normal)
        if runs is None:
            return None
        for run, text in runs:
            pairs = _pairs(run, text)
            if pairs is None:
                return None
            for variable, raw in pairs:
                value = _decode(run.expression.operator, variable, raw)
                if value is None:
                    return None
                if variable.prefix is not None and isinstance(value, str):
                    prefixes.append((variable, value))
                elif found.setdefault(variable.name, value) != value:
                    return None  # the same name twice, with different values
        for variable, value in prefixes:
            whole = found.setdefault(variable.name, value)
            if not isinstance(whole, str) or len(value) > (variable.prefix or 0):
                return None
            if not whole.startswith(value):
                return None
        return found


# Parsing


def _parse(text: str) -> Iterator[str | _Expression]:
    position = 0
    while position < len(text):
        opening = text.find("{", position)
        literal = text[position : opening if opening >= 0 else len(text)]
        if "}" in literal:
            raise ValueError(f"URI template {text[:80]!r}: '}}' without '{{'")
        if literal:
            yield _upper(_encode(literal, keeps_reserved=True))
        if opening < 0:
            return
        closing = text.find("}", opening)
        if closing < 0:
            raise ValueError(f"URI template {text[:80]!r}: '{{' without '}}'")
        yield _parse_expression(text[opening + 1 : closing])
        position = closing + 1


def _parse_expression(body: str) -> _Expression:
    symbol = body[:1] if body[:1] in _OPERATORS or body[:1] in "=,!@|" else ""
    operator = _OPERATORS.get(symbol)
    if operator is None:
        raise ValueError(f"URI template: operator {symbol!r} is reserved")
    return _Expression(operator, tuple(_parse_variable(spec) for spec in body[len(symbol) :].split(",")))


def _parse_variable(spec: str) -> _Variable:
    explode = spec.endswith("*")
    name, colon, length = spec.removesuffix("*").partition(":")
    if _NAME.match(name) is None:
        raise ValueError(f"URI template: {spec[:80]!r} is not a variable")
    if not colon:
        return _Variable(name, explode)
    plain = length.isascii() and length.isdigit() and len(length) <= 4 and length[0] != "0"
    if explode or not plain:
        raise ValueError(f"URI template: {spec[:80]!r} has no valid prefix length")
    return _Variable(name, prefix=int(length))


# Expanding


def _encode(text: str, *, keeps_reserved: bool) -> str:
    """Percent-encode; reserved characters and existing triplets stay when asked to."""
    if not keeps_reserved:
        return "".join(c if c in _UNRESERVED else _triplets(c) for c in text)
    parts: list[str] = []
    position = 0
    for match in _PERCENT.finditer(text):
        parts.append(_encode_plain(text[position : match.start()]))
        parts.append(match[0])
        position = match.end()
    parts.append(_encode_plain(text[position:]))
    return "".join(parts)


def _encode_plain(text: str) -> str:
    return "".join(c if c in _UNRESERVED or c in _RESERVED else _triplets(c) for c in text)


def _triplets(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


def _expand(expression: _Expression, values: Mapping[str, Value]) -> str:
    operator = expression.operator
    parts: list[str] = []
    for variable in expression.variables:
        value = values.get(variable.name)
        if value is None:
            continue
        if isinstance(value, Mapping):
            items = [(str(key), _text(item)) for key, item in value.items() if item is not None]
            if items:
                parts.append(_expand_pairs(operator, variable, items))
        elif isinstance(value, Sequence) and not isinstance(value, str):
            texts = [_text(item) for item in value if item is not None]
            if texts:
                parts.append(_expand_list(operator, variable, texts))
        else:
            text = _text(value)[: variable.prefix]
            parts.append(_pair(operator, variable.name, _written(operator, text)))
    return operator.first + operator.separator.join(parts) if parts else ""


def _expand_list(operator: _Operator, variable: _Variable, texts: list[str]) -> str:
    if variable.prefix is not None:
        raise ValueError(f"{variable.name!r} has a prefix length, which a list cannot have")
    written = [_written(operator, text) for text in texts]
    if not variable.explode:
        return _pair(operator, variable.name, ",".join(written))
    return operator.separator.join(_pair(operator, variable.name, text) for text in written)


def _expand_pairs(operator: _Operator, variable: _Variable, items: list[tuple[str, str]]) -> str:
    if variable.prefix is not None:
        raise ValueError(f"{variable.name!r} has a prefix length, which a mapping cannot have")
    written = [(_written(operator, key), _written(operator, text)) for key, text in items]
    if not variable.explode:
        return _pair(operator, variable.name, ",".join(f"{key},{text}" for key, text in written))
    if operator.named:
        return operator.separator.join(_pair(operator, key, text) for key, text in written)
    return operator.separator.join(f"{key}={text}" for key, text in written)


def _pair(operator: _Operator, name: str, text: str) -> str:
    if not operator.named:
        return text
    return f"{name}={text}" if text else name + operator.if_empty


def _written(operator: _Operator, text: str) -> str:
    return _encode(text, keeps_reserved=operator.keeps_reserved)


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


# Matching


def _compile(parts: Sequence[str | _Expression]) -> tuple[tuple[_Edge, ...], ...]:
    """The states of the matcher, each with the ways into it, the preferred one first."""
    states: list[list[_Edge]] = [[]]

    def state(over: str | _Run, source: int) -> int:
        states.append([_Edge(source, over)])
        return len(states) - 1

    current = 0
    for part in _merged(parts):
        if isinstance(part, str):
            current = state(part, current)
            continue
        operator = part.operator
        before, ends = current, []
        if operator.named:
            current = state(operator.first, current)
            ends = [state(_Run(operator.allowed, part, None), current)]
        else:
            for index, variable in enumerate(part.variables):
                symbol = operator.separator if index else operator.first
                if symbol:
                    current = state(symbol, current)
                run = _Run(_run_characters(part, variable), part, variable)
                current = state(run, current)
                ends.append(current)
        # One state behind the expression. Its ways in: the fullest reading first, absence last.
        ways = [_Edge(end, "") for end in reversed(ends)]
        if operator.first:
            ways.append(_Edge(before, ""))
        states.append(ways)
        current = len(states) - 1
    return tuple(tuple(edges) for edges in states)


def _merged(parts: Sequence[str | _Expression]) -> Iterator[str | _Expression]:
    """Join `{?a}{&b}` into `{?a,b}`: as one query its parameters may come in any order."""
    pending: _Expression | None = None
    for part in parts:
        operator = part.operator if isinstance(part, _Expression) else None
        if pending is not None and not isinstance(part, str) and operator is _OPERATORS["&"]:
            pending = _Expression(pending.operator, pending.variables + part.variables)
            continue
        if pending is not None:
            yield pending
            pending = None
        if not isinstance(part, str) and operator in (_OPERATORS["?"], _OPERATORS["&"]):
            pending = part
        else:
            yield part
    if pending is not None:
        yield pending


def _run_characters(expression: _Expression, variable: _Variable) -> frozenset[str]:
    operator = expression.operator
    if variable.explode:
        return operator.allowed | {operator.separator}
    if len(expression.variables) > 1:
        return operator.allowed - {operator.separator}
    return operator.allowed


def _normal(uri: str) -> str | None:
    """The URI in ASCII with upper-case triplets, so that equal ones are spelled equally."""
    if _BAD_PERCENT.search(uri) is not None:
        return None
    if not uri.isascii():
        try:
            uri = "".join(c if c.isascii() else _triplets(c) for c in uri)
        except UnicodeEncodeError:  # half of a surrogate pair
            return None
    return _upper(uri)


def _upper(text: str) -> str:
    return _PERCENT.sub(lambda match: match[0].upper(), text) if "%" in text else text


def _walk(edges: Sequence[Sequence[_Edge]], uri: str) -> list[tuple[_Run, str]] | None:
    """Find one path through the states that reads the whole URI, and the runs on it."""
    masks = _Masks(uri)
    reached: list[int] = [1]
    for ways in edges[1:]:
        here = 0
        for edge in ways:
            here |= masks.over(reached[edge.source], edge.over)
        reached.append(here)
    end = len(uri)
    if not reached[-1] >> end & 1:
        return None
    runs: list[tuple[_Run, str]] = []
    state = len(edges) - 1
    while state:
        for edge in edges[state]:
            start = masks.back(reached[edge.source], edge.over, end)
            if start >= 0:
                break
        if isinstance(edge.over, _Run):
            runs.append((edge.over, uri[start:end]))
        state, end = edge.source, start
    runs.reverse()
    return runs


class _Masks:
    """Sets of positions in one URI, as integers: bit `i` stands for the place before character `i`.

    All operations are shifts, sums and logic on these integers.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._reversed = uri[::-1].encode()
        self._sets: dict[frozenset[str], int] = {}

    def _positions(self, characters: frozenset[str]) -> int:
        found = self._sets.get(characters)
        if found is None:
            digits = self._reversed.translate(_digits(characters))
            found = self._sets[characters] = int(digits, 2) if digits else 0
        return found

    def over(self, starts: int, over: str | _Run) -> int:
        """Where one can be after reading `over` from any of `starts`."""
        if not starts or over == "":
            return starts
        if isinstance(over, str):
            for character in over:
                starts = (starts & self._positions(frozenset(character))) << 1
                if not starts:
                    break
            return starts
        inside = self._positions(over.allowed)
        starts = (starts & inside) << 1
        # Adding carries a start along the ones behind it: all ends of all runs in one sum.
        return (((starts & inside) + inside) ^ inside) | starts

    def back(self, starts: int, over: str | _Run, end: int) -> int:
        """The first of `starts` from which `over` leads to `end`; -1 when there is none."""
        if isinstance(over, str):
            start = end - len(over)
            fits = start >= 0 and starts >> start & 1 and self._uri.startswith(over, start)
            return start if fits else -1
        below = (1 << end) - 1
        # The run ending here begins behind the last character that does not belong to it.
        begin = (~self._positions(over.allowed) & below).bit_length()
        possible = (starts & below) >> begin
        return begin + (possible & -possible).bit_length() - 1 if possible else -1


@functools.lru_cache(maxsize=512)
def _digits(characters: frozenset[str]) -> bytes:
    """A translation table that turns text into binary digits."""
    return bytes(49 if chr(code) in characters else 48 for code in range(256))


def _pairs(run: _Run, text: str) -> list[tuple[_Variable, str | list[str]]] | None:
    """The variables a run gives values to, still encoded."""
    variable, operator = run.variable, run.expression.operator
    if variable is not None:
        if not variable.explode:
            return [(variable, text)]
        return [(variable, text.split(operator.separator))]
    known = {variable.name: variable for variable in run.expression.variables}
    found: dict[str, list[str]] = {}
    for piece in text.split(operator.separator):
        name, equals, value = piece.partition("=")
        variable = known.get(name)
        if variable is None or (not equals and operator.if_empty):
            return None
        values = found.setdefault(name, [])
        if values and not variable.explode:
            return None
        values.append(value)
    return [(known[name], values if known[name].explode else values[0]) for name, values in found.items()]


def _decode(operator: _Operator, variable: _Variable, raw: str | list[str]) -> str | list[str] | None:
    """Decode once; None for what is not UTF-8 or not safe."""
    if isinstance(raw, list):
        texts = [_decode_one(operator, item) for item in raw]
        safe = [text for text in texts if text is not None]
        if len(safe) < len(texts) or (operator.first == "/" and "" in safe):
            return None  # an empty segment would make a joined path absolute
        return safe
    return _decode_one(operator, raw)


def _decode_one(operator: _Operator, raw: str) -> str | None:
    try:
        text = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        return None
    if "\0" in text or "\\" in text or text.startswith("/") or _DRIVE.match(text) is not None:
        return None
    if "/" not in text:
        return None if text == ".." else text
    return text if operator.holds_slash and ".." not in text.split("/") else None
