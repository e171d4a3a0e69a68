"""What the types of our messages cannot say, as tables for `schemas`: bounds, formats, what only some revisions have.

Every row is a fact of the specification; `tests/conformance/test_schema_agreement.py` compares the outcome with the
schemas that the specification publishes.
"""

from collections.abc import Iterable
from typing import Any

from protocol.capabilities import ClientCapabilities
from protocol.errors import ErrorCode
from protocol.meta import (
    CLIENT_CAPABILITIES,
    CLIENT_INFO,
    LOG_LEVEL,
    PROGRESS_TOKEN,
    PROTOCOL_VERSION,
    SERVER_INFO,
    SUBSCRIPTION_ID,
)
from protocol.methods import MethodSpec
from protocol.model import Model
from protocol.results import DetailedTaskResult, EmptyResult
from protocol.types import LOGGING_LEVELS, Implementation

__all__ = [
    "META_TYPES",
    "demands_params",
    "errors",
    "is_there",
    "meta_of_params",
    "meta_of_results",
    "result_of",
    "shape",
]

META_TYPES: tuple[type[Model], ...] = (ClientCapabilities, Implementation)
"""The types that stand in a request's `_meta`."""

FIRST, BATCHES, FORMS, TASKS, ENVELOPES = "2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"
LAST = ENVELOPES

_FEATURES: dict[str, tuple[str, str]] = {
    "defaults and choices in forms": (TASKS, LAST),
    "dialect of a schema": (TASKS, LAST),
    "any schema": (ENVELOPES, LAST),
    "any output": (ENVELOPES, LAST),
    "several blocks in a message": (TASKS, LAST),
    "modes of elicitation": (TASKS, LAST),
    "ids of elicitations": (TASKS, TASKS),
    "cancels without an id": (TASKS, TASKS),
    "envelopes": (ENVELOPES, LAST),
}
"""What changes the shape of more than one member, and the first and the last revision that has it."""


def _has(feature: str, revision: str) -> bool:
    since, until = _FEATURES[feature]
    return since <= revision <= until


_TOKEN = {"type": ["string", "integer"]}


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_META_OF_VALUES = _names(
    "TextContent ImageContent AudioContent ResourceLink EmbeddedResource TextResourceContents BlobResourceContents "
    "Tool Resource ResourceTemplate Prompt Root"
)
"""Values that have a `_meta` of their own since it became a general member."""

_THERE: dict[tuple[str, str], tuple[str, str]] = {
    **{(name, "_meta"): (FORMS, LAST) for name in _META_OF_VALUES},
    ("SamplingMessage", "_meta"): (TASKS, LAST),
    **{("SamplingCapability", name): (TASKS, LAST) for name in ("context", "tools")},
    **{("ElicitationCapability", name): (TASKS, LAST) for name in ("form", "url")},
    ("ServerCapabilities", "extensions"): (ENVELOPES, LAST),
    ("ClientCapabilities", "extensions"): (ENVELOPES, LAST),
    ("ElicitResult", "_meta"): (FIRST, TASKS),
    ("ListRootsResult", "_meta"): (FIRST, TASKS),
    ("ElicitParams", "_meta"): (FIRST, TASKS),
    ("CreateMessageParams", "_meta"): (FIRST, TASKS),
    ("SubscriptionFilter", "taskIds"): (ENVELOPES, LAST),
}
"""Members, and the first and the last revision that has them, where no step down says it."""

_FORMATS = {
    "uri": _names(
        "Resource.uri ResourceLink.uri TextResourceContents.uri BlobResourceContents.uri Root.uri Icon.src "
        "Implementation.websiteUrl ReadResourceParams.uri SubscribeParams.uri ResourceUpdatedParams.uri"
    ),
    "uri-template": _names("ResourceTemplate.uriTemplate ResourceTemplateReference.uri"),
    "byte": _names("BlobResourceContents.blob ImageContent.data AudioContent.data"),
}
_FRACTIONS = _names(
    "Annotations.priority ModelPreferences.costPriority ModelPreferences.speedPriority "
    "ModelPreferences.intelligencePriority"
)
_OBJECT_SCHEMA = {
    "type": "object",
    "properties": {"$schema": {"type": "string"}, "type": {"type": "string", "const": "object"}},
    "required": ["type"],
}
_STRINGS = {"type": "array", "items": {"type": "string"}}
_SUBSCHEMAS = {"properties": {"type": "object", "additionalProperties": {"type": "object"}}, "required": _STRINGS}


def _property(kind: Any, required: Iterable[str] = (), **members: Any) -> dict[str, Any]:
    own = {"type": kind, "title": {"type": "string"}, "description": {"type": "string"}}
    return {"type": "object", "properties": {**own, **members}, "required": sorted({"type", *required})}


def _form_properties(revision: str) -> dict[str, Any]:
    """Return the schema of one property of a form."""
    has_defaults = _has("defaults and choices in forms", revision)
    text, array = {"type": "string", "const": "string"}, {"type": "string", "const": "array"}
    number = {"type": "string", "enum": ["integer", "number"]}
    formats = {"type": "string", "enum": ["date", "date-time", "email", "uri"]}
    count, figure = {"type": "integer"}, {"type": "number"}

    def default(kind: dict[str, Any]) -> dict[str, Any]:
        return {"default": kind} if has_defaults else {}

    choice = {
        "type": "object",
        "properties": {"const": {"type": "string"}, "title": {"type": "string"}},
        "required": ["const", "title"],
    }
    plain = [
        _property(text, format=formats, minLength=count, maxLength=count, **default({"type": "string"})),
        _property(number, minimum=figure, maximum=figure, **default(figure)),
        _property({"type": "string", "const": "boolean"}, default={"type": "boolean"}),
    ]
    named = _property(text, ["enum"], enum=_STRINGS, enumNames=_STRINGS, **default({"type": "string"}))
    if not has_defaults:
        return {"anyOf": [*plain, named]}
    one = {"default": {"type": "string"}}
    several = {"default": _STRINGS, "minItems": count, "maxItems": count}
    untitled = {"type": "object", "properties": {"type": text, "enum": _STRINGS}, "required": ["enum", "type"]}
    titled = {"type": "object", "properties": {"anyOf": {"type": "array", "items": choice}}, "required": ["anyOf"]}
    return {
        "anyOf": [
            *plain,
            _property(text, ["enum"], enum=_STRINGS, **one),
            _property(text, ["oneOf"], oneOf={"type": "array", "items": choice}, **one),
            _property(array, ["items"], items=untitled, **several),
            _property(array, ["items"], items=titled, **several),
            named,
        ]
    }


def _form(revision: str) -> dict[str, Any]:
    members = {
        "type": {"type": "string", "const": "object"},
        "properties": {"type": "object", "additionalProperties": _form_properties(revision)},
        "required": _STRINGS,
    }
    if _has("dialect of a schema", revision):
        members["$schema"] = {"type": "string"}
    return {"type": "object", "properties": members, "required": ["properties", "type"]}


def is_there(type_name: str, member: str, revision: str) -> bool:
    """Tell whether a revision's type has a member, as far as a table has to say it."""
    since, until = _THERE.get((type_name, member), (FIRST, LAST))
    return since <= revision <= until


def shape(name: str, made: dict[str, Any], revision: str) -> None:
    """Add to a definition what its Python type does not say."""
    members: dict[str, Any] = made["properties"]
    for format_, places in _FORMATS.items():
        for member in members:
            if f"{name}.{member}" in places:
                members[member] = {**members[member], "format": format_}
    for member in members:
        if f"{name}.{member}" in _FRACTIONS:
            members[member] = {**members[member], "minimum": 0, "maximum": 1}
        if member == "ttlMs" and name.endswith("Result") and name != DetailedTaskResult.__name__:
            members[member] = {**members[member], "minimum": 0}
    change = _CHANGES.get(name)
    if change is not None:
        change(made, revision)


def _demand(made: dict[str, Any], *names: str) -> None:
    made["required"] = sorted({*made["required"], *names})


def _tool(made: dict[str, Any], revision: str) -> None:
    members = made["properties"]
    kept = dict(_OBJECT_SCHEMA)
    if not _has("dialect of a schema", revision):
        kept["properties"] = {"type": kept["properties"]["type"]}
    kept["properties"] = {
        **kept["properties"],
        **({} if _has("any schema", revision) else _SUBSCHEMAS),
    }
    members["inputSchema"] = kept
    if "outputSchema" in members:
        is_any = _has("any output", revision)
        members["outputSchema"] = {"type": "object", "properties": {"$schema": {"type": "string"}}} if is_any else kept


def _objects(*names: str) -> Any:
    """Return the change that makes members objects, where the newest revision permits any value."""

    def change(made: dict[str, Any], revision: str) -> None:
        for name in names:
            if name in made["properties"] and not _has("any output", revision):
                made["properties"][name] = {"type": "object"}

    return change


def _one_block(made: dict[str, Any], revision: str) -> None:
    branches = made["properties"]["content"]["anyOf"]
    if not _has("several blocks in a message", revision):
        made["properties"]["content"] = {"anyOf": [each for each in branches if each.get("type") != "array"]}


def _cancelled(made: dict[str, Any], revision: str) -> None:
    if not _has("cancels without an id", revision):
        _demand(made, "requestId")


def _logged(made: dict[str, Any], revision: str) -> None:
    made["properties"]["data"] = {}


def _elicit(made: dict[str, Any], revision: str) -> None:
    members = {name: row for name, row in made["properties"].items() if name != "_meta"}
    form = {**members, "requestedSchema": _form(revision)}
    url = {**members, "url": {"type": "string", "format": "uri"}}
    for gone in ("url", "elicitationId"):
        form.pop(gone, None)
    url.pop("requestedSchema", None)
    if not _has("modes of elicitation", revision):
        made["properties"] = form
        _demand(made, "requestedSchema")
        return
    form["mode"], url["mode"] = {"type": "string", "const": "form"}, {"type": "string", "const": "url"}
    demanded = ["message", "mode", "url", *(["elicitationId"] if _has("ids of elicitations", revision) else [])]
    made.clear()
    made["anyOf"] = [
        {"type": "object", "properties": form, "required": ["message", "requestedSchema"]},
        {"type": "object", "properties": url, "required": sorted(demanded)},
    ]
    made["properties"], made["required"] = {}, ["message"]


def _elicited(made: dict[str, Any], revision: str) -> None:
    value: dict[str, Any] = {"type": ["string", "number", "boolean"]}
    if _has("defaults and choices in forms", revision):
        value = {"anyOf": [_STRINGS, value]}
    made["properties"]["content"] = {"type": "object", "additionalProperties": value}


def _completion(made: dict[str, Any], revision: str) -> None:
    # "Maximum 100 items" — server/utilities/completion of every revision; only the newest schema says it too.
    made["properties"]["values"] = {**_STRINGS, "maxItems": 100}


def _arguments(made: dict[str, Any], revision: str) -> None:
    made["properties"]["arguments"] = {"type": "object"}


def _settings(*names: str) -> Any:
    def change(made: dict[str, Any], revision: str) -> None:
        for name in names:
            if name in made["properties"]:
                made["properties"][name] = {"type": "object", "additionalProperties": {"type": "object"}}

    return change


_CHANGES: dict[str, Any] = {
    "Tool": _tool,
    "CallToolResult": _objects("structuredContent"),
    "ToolResultContent": _objects("structuredContent"),
    "SamplingMessage": _one_block,
    "CreateMessageResult": _one_block,
    "CancelledParams": _cancelled,
    "LogParams": _logged,
    "ElicitParams": _elicit,
    "ElicitResult": _elicited,
    "Completion": _completion,
    "CallToolParams": _arguments,
    "ClientCapabilities": _settings("experimental", "extensions"),
    "ServerCapabilities": _settings("experimental", "extensions"),
}


def meta_of_params(revision: str, is_request: bool) -> tuple[dict[str, Any], bool]:
    """Return the schema of the `_meta` of a request or a notification, and whether it must be there."""
    members: dict[str, Any] = {}
    demanded: list[str] = []
    if is_request:
        members[PROGRESS_TOKEN] = _TOKEN
    if _has("envelopes", revision) and is_request:
        members |= {
            PROTOCOL_VERSION: {"type": "string"},
            CLIENT_CAPABILITIES: {"$ref": "#/$defs/ClientCapabilities"},
            CLIENT_INFO: {"$ref": "#/$defs/Implementation"},
            LOG_LEVEL: {"type": "string", "enum": sorted(LOGGING_LEVELS)},
        }
        demanded = [CLIENT_CAPABILITIES, PROTOCOL_VERSION]
    elif _has("envelopes", revision):
        members[SUBSCRIPTION_ID] = _TOKEN
    made: dict[str, Any] = {"type": "object"}
    if members:
        made["properties"] = members
    if demanded:
        made["required"] = sorted(demanded)
    return made, bool(demanded)


def meta_of_results(*, is_listen: bool) -> dict[str, Any]:
    """Return the schema of the `_meta` of a result of the newest revision."""
    members: dict[str, Any] = {SERVER_INFO: {"$ref": "#/$defs/Implementation"}}
    if not is_listen:
        return {"type": "object", "properties": members}
    members[SUBSCRIPTION_ID] = _TOKEN
    return {"type": "object", "properties": members, "required": [SUBSCRIPTION_ID]}


def demands_params(method: str, revision: str) -> bool:
    """Tell whether a message has to have params though none of their members is demanded."""
    return method == "notifications/cancelled" and _has("cancels without an id", revision)


def result_of(spec: MethodSpec, revision: str) -> type[Any]:
    """Return the type of a method's result; the tasks of the newest revision are those of the extension."""
    if _has("envelopes", revision) and spec.name == "tasks/get":
        return DetailedTaskResult
    if _has("envelopes", revision) and spec.name == "tasks/cancel":
        return EmptyResult
    assert spec.result is not None
    return spec.result


def errors(revision: str) -> dict[str, Any]:
    """Return the schema of every error, by code where a code demands its data; `*` for all others."""
    plain = {
        "type": "object",
        "properties": {"code": {"type": "integer"}, "message": {"type": "string"}, "data": {}},
        "required": ["code", "message"],
    }
    found: dict[str, Any] = {"*": plain}

    def typed(code: int, members: dict[str, Any]) -> None:
        data = {"type": "object", "properties": members, "required": sorted(members)}
        own = {**plain["properties"], "code": {"type": "integer", "const": int(code)}, "data": data}
        found[str(int(code))] = {"type": "object", "properties": own, "required": ["code", "data", "message"]}

    if _has("envelopes", revision):
        typed(ErrorCode.UNSUPPORTED_VERSION, {"requested": {"type": "string"}, "supported": _STRINGS})
        typed(ErrorCode.MISSING_CLIENT_CAPABILITY, {"requiredCapabilities": {"$ref": "#/$defs/ClientCapabilities"}})
    if _has("ids of elicitations", revision):
        asked = {"$ref": "#/$defs/ElicitParams/anyOf/1"}
        typed(ErrorCode.URL_ELICITATION_REQUIRED, {"elicitations": {"type": "array", "items": asked}})
    return found
