"""The base of every wire type, and the one way to read and write them without losing a member.

A peer may send members this revision does not know: extension fields, future fields, a proxy's
own marks. `decode` keeps them beside the struct and `encode` writes them back. What a type means
belongs to `types`, `params` and `results`.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, TypeVar, cast, get_args

import msgspec
from msgspec import NODEFAULT, UNSET, Raw, Struct, ValidationError

_EXTRA = "__extra__"
"""The instance key under which unknown members live; a dunder cannot collide with a field."""

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Model(Struct, rename="camel", omit_defaults=True, kw_only=True, dict=True):
    """The base of every wire type: camelCase on the wire, `UNSET` for a member that is absent."""

    # A class-level default: looking for unknown members must not create the instance's dict.
    __extra__: ClassVar[Mapping[str, Any]] = _NOTHING


class Family:
    """The base of wire types told apart by their members because the wire carries no tag."""

    __slots__ = ()

    @classmethod
    @abstractmethod
    def variant(cls, members: Mapping[str, Any]) -> type[Model]:
        """Return the wire type that these members describe."""


M = TypeVar("M", bound=Model)
T = TypeVar("T")


class _Shape(NamedTuple):
    """What the walks need to know about one struct type, computed once."""

    known: frozenset[str]
    """Every wire name the type reads, its tag included."""
    tag: tuple[str, str | int] | None
    fields: tuple[tuple[str, str, Any], ...]
    """Attribute, wire name and default of each field."""
    nested: tuple[tuple[str, str], ...]
    """Attribute and wire name of the fields that hold models."""
    reach: frozenset[type[Any]]
    """The type itself and every model type below it."""
    is_transparent: bool
    """No field below it stays raw: turning all of it into objects is what decoding did anyway."""


def _mentioned(annotation: Any) -> Iterator[type[Any]]:
    """Yield the classes that an annotation is made of."""
    if isinstance(annotation, type):
        yield annotation
    for part in get_args(annotation):
        yield from _mentioned(part)


def _reach(roots: Iterable[type[Any]]) -> set[type[Any]]:
    """Return every class that the fields of these types mention, at any depth, and the types."""
    found = set[type[Any]]()
    todo = list(roots)
    while todo:
        type_ = todo.pop()
        if type_ in found:
            continue
        found.add(type_)
        if issubclass(type_, Struct):
            for info in msgspec.structs.fields(type_):
                todo.extend(_mentioned(info.type))
        elif issubclass(type_, Family):
            todo.extend(type_.__subclasses__())
    return found


def _models(types: Iterable[type[Any]]) -> frozenset[type[Any]]:
    return frozenset(type_ for type_ in types if issubclass(type_, (Model, Family)))


@cache
def _shape(type_: type[Struct]) -> _Shape:
    config = type_.__struct_config__
    tag = None if config.tag is None else (config.tag_field or "type", config.tag)
    fields = msgspec.structs.fields(type_)
    known = frozenset(info.encode_name for info in fields)
    reach = _reach([type_])
    return _Shape(
        known=known if tag is None else known | {tag[0]},
        tag=tag,
        fields=tuple((info.name, info.encode_name, info.default) for info in fields),
        nested=tuple((info.name, info.encode_name) for info in fields if _models(_mentioned(info.type))),
        reach=_models(reach),
        is_transparent=Raw not in reach,
    )


def held(type_: type[Model]) -> dict[str, frozenset[type[Any]]]:
    """Return, for each field that holds models, every model type found there at any depth."""
    types = {info.name: _models(_reach(_mentioned(info.type))) for info in msgspec.structs.fields(type_)}
    return {name: found for name, found in types.items() if found}


_carriers: set[type] = set()
"""The types of which some instance has carried unknown members; spares `encode` most walks."""


def _decode_family(type_: type[Any], value: Any) -> Any:
    if issubclass(type_, Family) and isinstance(value, dict):
        return msgspec.convert(value, type_.variant(value), dec_hook=_decode_family)
    raise ValidationError(f"Expected `object`, got `{type(value).__name__}`")


_ENCODER = msgspec.json.Encoder()
_MEMBERS = msgspec.json.Decoder(dict[str, Raw])
_ITEMS = msgspec.json.Decoder(list[Raw])
_ANYTHING = msgspec.json.Decoder()


_DECODERS: dict[Any, msgspec.json.Decoder[Any]] = {}


def decoder(type_: type[T]) -> msgspec.json.Decoder[T]:
    """Return a type's shared decoder, which drops unknown members."""
    found = _DECODERS.get(type_)
    if found is None:
        found = _DECODERS[type_] = msgspec.json.Decoder(type_, dec_hook=_decode_family)
    return found


def decode(data: bytes | Raw, type_: type[T]) -> T:
    """Read one JSON text into a wire type and keep every member the type does not know.

    Raises:
        msgspec.DecodeError: the text is not JSON or does not have the type's shape.
        UnicodeDecodeError: a string is not UTF-8.
        RecursionError: the text nests deeper than the interpreter can follow.
    """
    value = decoder(type_).decode(data)
    if isinstance(value, Model):
        text = data if isinstance(data, bytes) else bytes(data)
        written = _ENCODER.encode(value)
        # A peer that writes members in our order, as this package does, spares us the walk; and for
        # any other two decodes and a comparison in C are cheaper than the walk.
        if not (
            written == text
            or _is_reordered(written, text)
            or (_shape(type(value)).is_transparent and _ANYTHING.decode(written) == _ANYTHING.decode(text))
        ):
            _keep_unknown(value, text)
    return value


def _is_reordered(written: bytes, text: bytes) -> bool:
    """Tell of a text and of what was written of it that they differ in nothing but the order of members.

    A member that is lost takes two quotes along. What is written may have more of them only where the text escapes
    them, which takes more room and not less.
    """
    return len(written) == len(text) and written.count(b'"') == text.count(b'"')


def _attach(model: Model, members: Mapping[str, Any]) -> None:
    model.__dict__[_EXTRA] = MappingProxyType(members)
    _carriers.update(type(model).__mro__)


def _keep_unknown(root: Model, text: bytes) -> None:
    stack: list[tuple[Model, bytes | Raw]] = [(root, text)]
    while stack:
        model, data = stack.pop()
        shape = _shape(type(model))
        members = _MEMBERS.decode(data)
        if not shape.known.issuperset(members):
            unknown = {name: _ANYTHING.decode(member) for name, member in members.items() if name not in shape.known}
            _attach(model, unknown)
        for name, wire in shape.nested:
            child = getattr(model, name)
            if isinstance(child, Model):
                stack.append((child, members[wire]))
            elif isinstance(child, list):
                stack.extend(
                    pair for pair in zip(child, _ITEMS.decode(members[wire]), strict=True) if isinstance(pair[0], Model)
                )
            elif isinstance(child, dict):
                raws = _MEMBERS.decode(members[wire])
                stack.extend((item, raws[key]) for key, item in child.items() if isinstance(item, Model))


def extra(obj: Model) -> Mapping[str, Any]:
    """Return the members of an object that its type does not know, by wire name."""
    return obj.__extra__


def extend(obj: M, members: Mapping[str, Any]) -> M:
    """Return a copy that also carries these members, as an extension adds them to a core type."""
    copy = msgspec.structs.replace(obj)
    _attach(copy, {**obj.__extra__, **members})
    return copy


def evolve(obj: M, /, **changes: Any) -> M:
    """Return a copy with some fields changed that keeps the unknown members."""
    copy = msgspec.structs.replace(obj, **changes)
    if obj.__extra__:
        _attach(copy, obj.__extra__)
    return copy


@cache
def _long_encoder() -> Callable[[Any], bytes]:
    import orjson  # which imports `json`, `uuid` and more: only for those who need it

    return orjson.dumps


def encode_long(obj: Model) -> bytes:
    """Write a model that holds long text, as `encode` does and six times as fast; for little ones `encode` is faster.

    What orjson has no form for, such as lone surrogates and integers of more than 64 bits, `encode` writes.
    """
    if not (_carriers and _carries_extra(obj)):
        try:
            return _long_encoder()(msgspec.to_builtins(obj))
        except (TypeError, UnicodeEncodeError):
            pass
    return encode(obj)


def encode(obj: Any) -> bytes:
    """Write a model as JSON, unknown members included; also writes any other value msgspec can.

    Models inside an `Any`, which no decoding puts there, are written without unknown members. Text
    is always valid UTF-8: a lone surrogate becomes U+FFFD. NaN and the infinities become null.
    """
    try:
        if _carriers and isinstance(obj, Model) and _carries_extra(obj):
            return _ENCODER.encode(_with_extra(obj))
        return _ENCODER.encode(obj)
    except UnicodeEncodeError:
        return _ENCODER.encode(_scrub(obj))


def _carries_extra(root: Model) -> bool:
    if _carriers.isdisjoint(_shape(type(root)).reach):
        return False
    stack = [root]
    while stack:
        model = stack.pop()
        if model.__extra__:
            return True
        for name, _ in _shape(type(model)).nested:
            child = getattr(model, name)
            if isinstance(child, Model):
                stack.append(child)
            elif isinstance(child, list):
                stack.extend([item for item in child if isinstance(item, Model)])
            elif isinstance(child, dict):
                stack.extend([item for item in child.values() if isinstance(item, Model)])
    return False


def _with_extra(value: Any) -> Any:
    """Turn a model into the mapping it is on the wire; leave other values as they are."""
    if not isinstance(value, Model):
        return value
    members = _members_of(value)
    for name, wire in _shape(type(value)).nested:
        child = getattr(value, name)
        if isinstance(child, list):
            members[wire] = [_with_extra(item) for item in child]
        elif isinstance(child, dict):
            members[wire] = {key: _with_extra(item) for key, item in child.items()}
        elif isinstance(child, Model):
            members[wire] = _with_extra(child)
    return members


def _members_of(value: Struct) -> dict[str, Any]:
    shape = _shape(type(value))
    members: dict[str, Any] = {} if shape.tag is None else dict([shape.tag])
    for name, wire, default in shape.fields:
        member = getattr(value, name)
        if member is not UNSET and (default is NODEFAULT or member is not default):
            members[wire] = member
    members.update(getattr(value, _EXTRA, _NOTHING))
    return members


def _scrub(value: Any) -> Any:
    """Rebuild a value without lone surrogates; what nests too deep for this no encoder writes."""
    if isinstance(value, str):
        # Going through UTF-16 joins halves that belong together before the lone ones are replaced.
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if value is None or isinstance(value, (bool, int, float, Raw)):
        return value
    if isinstance(value, Struct):
        value = _members_of(value)
    if isinstance(value, dict):
        return {_scrub(key): _scrub(member) for key, member in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_scrub(item) for item in value]
    return _scrub(cast(Any, msgspec.to_builtins(value)))
