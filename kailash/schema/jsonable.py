"""Turn what tools return into JSON."""

import collections.abc as abc
import sys
from pathlib import PurePath
from typing import Any

import msgspec


def to_jsonable(value: Any) -> Any:
    """Convert a value to JSON builtins (dict, list, str, int, float, bool, None).

    Raises:
        TypeError: Something in it has no JSON form; the message names the type.
    """
    # Not msgspec.to_builtins: that leaves tuples, NaN and the value of an odd Enum as they are.
    return msgspec.json.decode(dumps(value))


def dumps(value: Any) -> bytes:
    """Write a value as compact JSON.

    Raises:
        TypeError: Something in it has no JSON form; the message names the type.
    """
    try:
        return _ENCODER.encode(value)
    except RecursionError:
        raise TypeError(_RECURSIVE.format(type(value).__name__)) from None
    except UnicodeEncodeError:
        raise TypeError(f"{type(value).__name__} holds text that is not Unicode") from None


_RECURSIVE = "{} is nested too deeply for JSON, or contains itself"


def _encode_other(value: Any) -> Any:
    """msgspec's `enc_hook`: called for what msgspec does not write by itself."""
    if _is_model(value):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, PurePath):
        return str(value)
    # msgspec writes the exact builtins only; a subclass of one is written as that builtin.
    for kind in (str, int, float, bytes):
        if isinstance(value, kind):
            return str.__str__(value) if kind is str else kind(value)  # type: ignore[arg-type]
    if isinstance(value, abc.Mapping):
        return dict(value)
    if isinstance(value, abc.Set | abc.Sequence | abc.ValuesView):
        return list(value)
    raise TypeError(f"{type(value).__qualname__} cannot be written as JSON")


def _is_model(value: Any) -> bool:
    # A model can only exist once pydantic has been imported by whoever defined it.
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(value, pydantic.BaseModel)


_ENCODER = msgspec.json.Encoder(enc_hook=_encode_other)
