"""Elicitation forms: a class with flat fields becomes the schema of a form, its content becomes the class."""

from collections.abc import Callable
from typing import Any

from .normal import normalise
from .plans import convert
from .render import SchemaWriter

__all__ = ["derive_form"]

_ALLOWED = frozenset({"type", "properties", "required"})


def derive_form(annotation: Any) -> tuple[dict[str, Any], Callable[[dict[str, Any]], Any]]:
    """Return a form's schema and the function that reads its content into the class.

    Raises:
        TypeError: the class cannot be described, or is no class with fields.
    """
    target = normalise(annotation)
    writer = SchemaWriter()
    schema = writer.finish(writer.render(target), "inline")
    if schema.get("type") != "object" or "properties" not in schema:
        raise TypeError(f"{annotation!r} has no fields to fill in")
    # A form knows these three members only; what else a schema says of a class is not for the user.
    form = {key: member for key, member in schema.items() if key in _ALLOWED}
    return form, lambda content: convert(content, target)
