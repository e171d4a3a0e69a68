"""Holds every message to the JSON schema of its revision.

The schemas in `schema/` are made at development time by `targets.ours.schemas`. They are read and compiled when a
message of their kind first passes: the judge starts without them.
"""

import base64
import binascii
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .requirements import Revision

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator, ValidationError

__all__ = ["RULE", "schema_faults"]

RULE = 226
"""The rule that a message broken by these schemas breaks, besides those that look at the same thing more closely."""

_FOLDER = Path(__file__).parent / "schema"
_VERSION = "io.modelcontextprotocol/protocolVersion"
_LONGEST = 240
_TAGS = ("type", "method", "mode")

_ID = {"type": ["string", "integer"]}
_JSONRPC = {"type": "string", "const": "2.0"}
_PARAMS = {"type": "object", "properties": {"_meta": {"type": "object"}}}
_GENERIC: dict[str, Any] = {
    "request": {
        "type": "object",
        "properties": {"jsonrpc": _JSONRPC, "id": _ID, "method": {"type": "string"}, "params": _PARAMS},
        "required": ["id", "jsonrpc", "method"],
    },
    "notification": {
        "type": "object",
        "properties": {"jsonrpc": _JSONRPC, "method": {"type": "string"}, "params": _PARAMS},
        "required": ["jsonrpc", "method"],
    },
    "result": _PARAMS,
}
"""What holds for messages of methods that the revision does not have: extensions have their own."""


@cache
def _document(revision: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((_FOLDER / f"{revision}.json").read_text(encoding="utf-8"))
    return found


@cache
def _validator(revision: str, kind: str, name: str) -> "Draft202012Validator | None":
    """Return what validates one kind of thing by its name; `None` if the revision's schema does not know the name."""
    from jsonschema_rs import Draft202012Validator  # here: `--help` starts without it

    document = _document(revision)
    schema = _GENERIC.get(name) if kind == "generic" else document.get(kind, {}).get(name)
    if schema is None:
        return None
    whole = {**schema, "$defs": document["$defs"]}
    return Draft202012Validator(whole, validate_formats=True, formats={"byte": _is_base64})


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def schema_faults(message: Any, revision: Revision, request: dict[str, Any] | None = None) -> list[str] | None:
    """Say what a message lacks by the schema of its revision: an empty list if nothing.

    Args:
        message: as it was parsed.
        revision: whose schema.
        request: what the message answers, if it answers anything that is known.

    Returns:
        The faults, each with its place; `None` if there is no schema for what it is.
    """
    if isinstance(message, list):
        if not revision.batching:
            return ["an array is no message of this revision"]
        found = [schema_faults(each, revision, request) for each in message]
        return [fault for each in found if each for fault in each]
    if not isinstance(message, dict):
        return None
    if "method" in message:
        kind = "request" if "id" in message else "notification"
        method = message["method"] if isinstance(message["method"], str) else ""
        checker = _validator(revision.name, "messages", method) or _validator(revision.name, "generic", kind)
        return _told(checker, message, "")
    if "error" in message:
        return _error(message, revision)
    return _result(message.get("result"), revision, request)


def _error(message: dict[str, Any], revision: Revision) -> list[str]:
    error = message["error"]
    code = str(error.get("code")) if isinstance(error, dict) else "*"
    checker = _validator(revision.name, "errors", code) or _validator(revision.name, "errors", "*")
    return _told(checker, error, "/error")


def _result(result: Any, revision: Revision, request: dict[str, Any] | None) -> list[str] | None:
    method = request.get("method") if request is not None else None
    params = request.get("params") if request is not None else None
    params = params if isinstance(params, dict) else {}
    meta = params.get("_meta")
    is_claimed = isinstance(meta, dict) and _VERSION in meta
    if not isinstance(method, str) or (revision.is_envelope and not is_claimed):
        return None  # what asked is not known, or did not say in which revision
    checker = _validator(revision.name, "results", method)
    if isinstance(result, dict) and checker is not None:
        kind = result.get("resultType")
        if revision.is_envelope and isinstance(kind, str):
            checker = _validator(revision.name, "kinds", kind) or checker
        elif "task" in params and "task" in result:
            checker = _validator(revision.name, "kinds", "task") or checker
    return _told(checker or _validator(revision.name, "generic", "result"), result, "/result")


def _told(checker: "Draft202012Validator | None", value: Any, where: str) -> list[str]:
    if checker is None or checker.is_valid(value):
        return []
    return [_line(error, where) for error in checker.iter_errors(value)]


def _line(error: "ValidationError", where: str) -> str:
    error = _innermost(error)
    place = "".join(f"/{part}" for part in error.instance_path)
    text = error.message
    return f"{where}{place or ''}: {text if len(text) <= _LONGEST else '…' + text[-_LONGEST:]}".removeprefix(": ")


def _innermost(error: "ValidationError") -> "ValidationError":
    """Return what is wrong within the alternative that was meant, for a value that fits no alternative."""
    while error.kind.name == "anyOf":
        branches = [branch for branch in error.kind.context if branch]
        meant = [b for b in branches if not any(e.instance_path and e.instance_path[-1] in _TAGS for e in b)]
        if len(meant) != 1:
            return error
        error = meant[0][0]
    return error
