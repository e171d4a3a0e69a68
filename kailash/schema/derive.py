"""From a function's signature to an argument decoder and its JSON Schema.

One msgspec struct is generated per function and the raw `arguments` bytes are decoded straight into
it: a call pays for one decoder and one dict, never for JSON Schema. What is slow here is slow on
registration or on the way to an error.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, UNSET
from msgspec.structs import asdict

from . import annotations as ann
from .docstrings import Doc, parse_docstring
from .errors import ArgumentError
from .inline import Style
from .normal import is_plain, normalise
from .plans import decode_hook, split_path
from .render import SchemaWriter

NoneType = type(None)

PROGRESS_TOKEN = "progress_token"
"""A parameter of this name that defaults to None is filled in by the server, if at all."""

_FAULTS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Arguments(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """How to call a function with arguments that come as JSON."""

    schema: dict[str, Any]
    """The input schema: an object; `required` is left out when nothing is."""
    injected: dict[str, type]
    """Parameters the caller of the function fills in and the schema hides, with the type that hid
    them; `NoneType` for a progress token."""
    doc: Doc
    is_trivial: bool
    """True when there is nothing to send."""
    names: frozenset[str]
    required: tuple[str, ...]
    shape: type[msgspec.Struct]
    """What the arguments are decoded to."""
    is_plain: bool
    """True when decoding them runs nothing of the function's author: no class, no validator, no factory."""
    decode: Callable[[Any], Any]
    """The decoder of it that `bind` uses."""
    structured: tuple[str, ...] = ()
    """Arguments that can only be arrays or objects."""
    extra: Callable[[Any], Any] | None = None
    """Decodes the value of an argument that `**kwargs` collects."""

    def bind(self, raw: bytes | msgspec.Raw | None = None, read: Any = None) -> dict[str, Any]:
        """Decode raw JSON arguments into keyword arguments for the call.

        Args:
            raw: The arguments.
            read: What `decode` has made of them already, if it has.

        Raises:
            ArgumentError: The arguments do not fit the signature.
        """
        if type(read) is self.shape:
            return asdict(read)
        if raw is None:
            raw = b"{}"
        try:
            if self.extra is not None:
                return self._bind_extra(raw, self.extra)
            return asdict(self.decode(raw))
        except _FAULTS as error:
            return self._bind_again(raw, error)

    def _bind_extra(self, raw: Any, extra: Callable[[Any], Any]) -> dict[str, Any]:
        bound = asdict(self.decode(raw))
        for name, value in _MEMBERS.decode(raw).items():
            if name in self.injected:
                raise ArgumentError(f"argument {name!r} cannot be sent", name)
            if name not in bound:
                try:
                    bound[name] = extra(value)
                except _FAULTS as error:
                    message, path = split_path(str(error))
                    raise _about(name, message, path[1:], UNSET) from None
        return bound

    def _bind_again(self, raw: Any, error: Exception) -> dict[str, Any]:
        """Forgive what models do to JSON, once; otherwise say what is wrong."""
        try:
            values = msgspec.json.decode(raw)
        except _FAULTS as fault:
            message = split_path(str(fault))[0]
            raise ArgumentError(f"arguments are not valid JSON: {message}", None) from None
        if not isinstance(values, dict):
            kind = _JSON_NAMES.get(type(values), "null")
            raise ArgumentError(f"arguments must be an object, got {kind}", None) from None
        try:
            again = msgspec.json.encode(self._forgiven(values))
            if self.extra is not None:
                return self._bind_extra(again, self.extra)
            return asdict(self.decode(again))
        except _FAULTS as fault:
            error = fault
        raise self._explain(error, values) from None

    def _forgiven(self, values: dict[str, Any]) -> Any:
        changed = dict(values)
        for name in self.structured:
            # Some models send '["a"]' for ["a"]. Only where no text could have been meant.
            if isinstance(text := values.get(name), str):
                try:
                    parsed = msgspec.json.decode(text)
                except (msgspec.DecodeError, RecursionError):
                    continue
                if isinstance(parsed, list | dict):
                    changed[name] = parsed
        # JSON Schema calls 5.0 an integer, and that schema is what we published.
        return _integral(changed)

    def _explain(self, error: Exception, values: dict[str, Any]) -> ArgumentError:
        message, path = split_path(str(error))
        if path == "$":
            missing = [name for name in self.required if name not in values]
            if missing:
                return ArgumentError(f"missing required {_listed(missing)}", missing[0])
            unknown = [name for name in values if name not in self.names]
            if unknown and self.extra is None:
                known = ", ".join(sorted(self.names)) or "none"
                return ArgumentError(f"unknown {_listed(unknown[:5])}; accepted: {known}", unknown[0])
            return ArgumentError(f"arguments: {_plain(message)}", None)
        name, _, rest = path[2:].partition(".")
        name, bracket, index = name.partition("[")
        place = bracket + index + (f".{rest}" if rest else "")
        found = _about(name, message, place, values.get(name, UNSET) if not place else UNSET)
        allowed = self.schema["properties"].get(name, {}).get("enum")
        if allowed is not None and not place:
            listed = ", ".join(repr(value) for value in allowed)
            return ArgumentError(f"{found}; allowed: {listed}", name)
        return found


_JSON_NAMES = {list: "array", str: "string", int: "integer", float: "number", bool: "boolean"}
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _listed(names: list[str]) -> str:
    quoted = ", ".join(repr(name[:80]) for name in names)
    return f"argument {quoted}" if len(names) == 1 else f"arguments {quoted}"


def _plain(message: str) -> str:
    message = message.replace("`", "")
    return message[:1].lower() + message[1:]


def _about(name: str, message: str, place: str, value: Any) -> ArgumentError:
    text = f"argument {name!r}: {_plain(message)}"
    if place:
        text += f" at {name}{place}"
    elif isinstance(value, str | int | float):
        shown = f"{value!r:.80}"
        text += "" if " got " in message or shown in message else f", got {shown}"
    return ArgumentError(text, name)


def _integral(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_integral(item) for item in value]
    if isinstance(value, dict):
        return {name: _integral(item) for name, item in value.items()}
    return value


def derive_arguments(fn: Callable[..., Any], *, skip: Collection[type] = (), style: Style = "auto") -> Arguments:
    """Derive the argument decoder and input schema of a function.

    Args:
        skip: Types the server injects, such as its context: parameters annotated with one of them,
            or whose default or `Annotated` metadata is an instance of one, are not published.
        style: What to do with shared definitions, see `kailash.schema.inline`.

    Raises:
        TypeError: A parameter cannot be filled from JSON; the message names it.
    """
    writer = SchemaWriter()
    doc = parse_docstring(fn.__doc__)
    injected: dict[str, type] = {}
    properties: dict[str, Any] = {}
    required: list[str] = []
    fields: list[Any] = []
    structured: list[str] = []
    extra: Callable[[Any], Any] | None = None
    additional: Any = False
    is_safe = True
    for parameter, hint in _parameters(fn, tuple(skip)):
        hidden = _injected_type(parameter, hint, frozenset(skip))
        if hidden is not None:
            injected[parameter.name] = hidden
            continue
        try:
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                kind = normalise(hint)
                additional = writer.render(kind) or True
                extra = msgspec.json.Decoder(kind, dec_hook=decode_hook).decode
                continue
            field, schema = _field(writer, parameter, hint, doc)
        except TypeError as error:
            raise TypeError(f"{_name(fn)}: parameter {parameter.name!r}: {error}") from error
        properties[parameter.name] = schema
        fields.append(field)
        is_safe &= is_plain(field[1]) and not _runs_factory(*field[2:])
        if len(field) == 2:
            required.append(parameter.name)
        if _kinds(schema, writer) <= {"array", "object", "null"}:
            structured.append(parameter.name)
    struct = msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=extra is None)
    whole: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        whole["required"] = required
    whole["additionalProperties"] = additional
    return Arguments(
        schema=writer.finish(whole, style),
        injected=injected,
        doc=doc,
        is_trivial=not fields and extra is None,
        names=frozenset(properties),
        required=tuple(required),
        shape=struct,
        is_plain=is_safe and extra is None,
        decode=msgspec.json.Decoder(struct, dec_hook=decode_hook).decode,
        structured=tuple(structured),
        extra=extra,
    )


def _field(writer: SchemaWriter, parameter: inspect.Parameter, hint: Any, doc: Doc) -> tuple[Any, dict[str, Any]]:
    """The struct field and the schema of one parameter."""
    default = parameter.default
    if ann.is_pydantic_field(default):
        hint, default = ann.annotated(hint, default), inspect.Parameter.empty
    notes = ann.read_notes(ann.split(hint)[1])
    factory = notes.default_factory
    if default is inspect.Parameter.empty:
        default = NODEFAULT if notes.default is UNSET else notes.default
    if default is None and not _admits_none(hint):
        hint = ann.union_of([hint, None])
    kind = normalise(hint)
    shown = UNSET if factory is not None else default
    schema = writer.property_of(kind, shown)
    text = notes.description or doc.params.get(parameter.name)
    if text:
        schema = {**schema, "description": text}
    if factory is not None:
        return (parameter.name, kind, msgspec.field(default_factory=factory)), schema
    if default is NODEFAULT:
        return (parameter.name, kind), schema
    return (parameter.name, kind, _default(default)), schema


def _default(value: Any) -> Any:
    """A struct default that hands out `value`, or a copy where calls could spoil it for others."""
    if value is None or isinstance(value, str | int | float | bytes):
        return value
    if type(value) in (list, dict, set):
        return msgspec.field(default_factory=value.copy)
    return msgspec.field(default_factory=lambda: value)


def _runs_factory(default: Any = None) -> bool:
    """Tell whether a struct default is made by something that is not Python's own."""
    factory = getattr(default, "default_factory", NODEFAULT)
    return factory is not NODEFAULT and not inspect.isbuiltin(factory)


def _parameters(fn: Callable[..., Any], skip: tuple[type, ...]) -> list[tuple[inspect.Parameter, Any]]:
    """The parameters of a callable, each with its evaluated annotation."""
    namespace, local = _namespace(fn)
    found: list[tuple[inspect.Parameter, Any]] = []
    for parameter in inspect.signature(fn).parameters.values():
        place = f"{_name(fn)}: parameter {parameter.name!r}"
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            raise TypeError(f"{place}: *{parameter.name} has no names a caller could send")
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise TypeError(f"{place}: a positional-only parameter cannot be sent by name")
        hint = parameter.annotation
        if hint is inspect.Parameter.empty:
            found.append((parameter, Any))
            continue
        try:
            found.append((parameter, _evaluate(hint, namespace, local, skip)))
        except NameError as error:
            raise TypeError(f"{place}: cannot evaluate {hint!r}: {error}") from error
    return found


def _evaluate(hint: Any, namespace: Mapping[str, Any], local: Mapping[str, Any], skip: tuple[type, ...]) -> Any:
    try:
        return ann.resolve({"hint": hint}, namespace=namespace, locals=local)["hint"]
    except NameError:
        # The context is often imported for type checkers only. We know which class it must be.
        local = {cls.__name__: cls for cls in skip} | dict(local)
        return ann.resolve({"hint": hint}, namespace=namespace, locals=local)["hint"]


def _namespace(fn: Any) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """The global and the enclosing names an annotation of `fn` may use."""
    target = fn
    while isinstance(target, functools.partial):
        target = target.func
    target = inspect.unwrap(target)
    target = getattr(target, "__func__", target)
    if isinstance(target, type):
        return vars(sys.modules[target.__module__]), dict(vars(target))
    if not hasattr(target, "__globals__"):
        target = type(target).__call__
    local: dict[str, Any] = {x.__name__: x for x in getattr(target, "__type_params__", ())}
    code = getattr(target, "__code__", None)
    for name, cell in zip(getattr(code, "co_freevars", ()), getattr(target, "__closure__", None) or (), strict=True):
        try:
            local[name] = cell.cell_contents
        except ValueError:  # the enclosing function has not assigned it yet
            continue
    return getattr(target, "__globals__", {}), local


def _injected_type(parameter: inspect.Parameter, hint: Any, skip: frozenset[type]) -> type | None:
    if parameter.name == PROGRESS_TOKEN and parameter.default is None:
        return NoneType
    base, metadata = ann.split(hint)
    for item in (parameter.default, *metadata):
        if not isinstance(item, type) and not skip.isdisjoint(type(item).__mro__):
            return type(item)
    members = get_args(base) if ann.is_union(base) else (base,)
    for member in members:
        kind = ann.split(member)[0]
        kind = get_origin(kind) or kind
        if isinstance(kind, type) and not skip.isdisjoint(kind.__mro__):
            return kind
    return None


def _admits_none(hint: Any) -> bool:
    base, _ = ann.split(hint)
    if base is Any or base in (None, NoneType, object):
        return True
    return ann.is_union(base) and any(_admits_none(member) for member in get_args(base))


def _kinds(schema: dict[str, Any], writer: SchemaWriter) -> set[str]:
    """The JSON types a schema admits; "any" where it does not say."""
    name = schema.get("$ref", "").rpartition("/")[2]
    if name:
        return _kinds(writer.definitions[name], writer)
    if "anyOf" in schema:
        return set().union(*(_kinds(option, writer) for option in schema["anyOf"]))
    kind = schema.get("type", "any")
    return {kind} if isinstance(kind, str) else set(kind)


def _name(fn: Any) -> str:
    return getattr(fn, "__qualname__", None) or type(fn).__qualname__
