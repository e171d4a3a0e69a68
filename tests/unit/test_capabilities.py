"""What each side declares, and the questions asked of it."""

from typing import Any

import msgspec
import pytest

from protocol.capabilities import ClientCapabilities, ServerCapabilities, has, missing
from protocol.model import decode, encode

TASKS = "io.modelcontextprotocol/tasks"


def client(**members: Any) -> ClientCapabilities:
    return decode(msgspec.json.encode(members), ClientCapabilities)


def server(**members: Any) -> ServerCapabilities:
    return decode(msgspec.json.encode(members), ServerCapabilities)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (ClientCapabilities, b"{}"),
        (
            ClientCapabilities,
            b'{"experimental":{"a":{}},"roots":{"listChanged":true},"sampling":{"context":{},"tools":{}},'
            b'"elicitation":{"form":{},"url":{}},"tasks":{"list":{},"cancel":{},"requests":{"sampling":'
            b'{"createMessage":{}},"elicitation":{"create":{}}}},"extensions":{"a.b/c":{"d":1}}}',
        ),
        (
            ServerCapabilities,
            b'{"experimental":{"a":{}},"logging":{},"completions":{},"prompts":{"listChanged":false},'
            b'"resources":{"subscribe":true,"listChanged":true},"tools":{"listChanged":true},"tasks":{"list":{},'
            b'"cancel":{},"requests":{"tools":{"call":{}}}},"extensions":{"a.b/c":{}}}',
        ),
        (ServerCapabilities, b'{"tools":{"future":1},"future":{"a":[1]}}'),
    ],
)
def test_declarations_are_written_as_they_were_read(kind: type[Any], text: bytes):
    assert encode(decode(text, kind)) == text


@pytest.mark.parametrize(
    ("members", "path", "expected"),
    [
        ({}, "sampling", False),
        ({"sampling": {}}, "sampling", True),
        ({"sampling": {}}, "sampling.tools", False),
        ({"sampling": {"tools": {}}}, "sampling.tools", True),
        ({"sampling": {"tools": {}}}, "sampling.context", False),
        ({"roots": {}}, "roots", True),
        ({"roots": {}}, "roots.listChanged", False),
        ({"roots": {"listChanged": False}}, "roots.listChanged", False),
        ({"roots": {"listChanged": True}}, "roots.listChanged", True),
        ({}, "elicitation", False),
        ({}, "elicitation.form", False),
        ({"elicitation": {}}, "elicitation", True),
        ({"elicitation": {}}, "elicitation.form", True),
        ({"elicitation": {}}, "elicitation.url", False),
        ({"elicitation": {"form": {}}}, "elicitation.form", True),
        ({"elicitation": {"url": {}}}, "elicitation.form", False),
        ({"elicitation": {"url": {}}}, "elicitation.url", True),
        ({"elicitation": {"form": {}, "url": {}}}, "elicitation.url", True),
        ({"tasks": {"requests": {"sampling": {"createMessage": {}}}}}, "tasks.requests.sampling.createMessage", True),
        ({"tasks": {"requests": {"sampling": {}}}}, "tasks.requests.elicitation.create", False),
        ({"extensions": {TASKS: {}}}, f"extensions:{TASKS}", True),
        ({"extensions": {TASKS: None}}, f"extensions:{TASKS}", False),
        ({"extensions": {}}, f"extensions:{TASKS}", False),
        ({"experimental": {"a": {"b": True}}}, "experimental.a.b", True),
        ({"experimental": {"a": {"b": True}}}, "experimental.a.b.c", False),
        ({"future": {"form": {}}}, "future.form", True),
        ({"future": {}}, "future.form", False),
    ],
)
def test_a_client_has_what_it_declared(members: dict[str, Any], path: str, expected: bool):
    assert has(client(**members), path) is expected


@pytest.mark.parametrize(
    ("members", "path", "expected"),
    [
        ({"tools": {}}, "tools", True),
        ({"tools": {}}, "tools.listChanged", False),
        ({"tools": {"listChanged": True}}, "tools.listChanged", True),
        ({"tools": {"listChanged": False}}, "tools.listChanged", False),
        ({"resources": {"subscribe": True}}, "resources.subscribe", True),
        ({"resources": {"subscribe": True}}, "resources.listChanged", False),
        ({"prompts": {"listChanged": True}}, "prompts.listChanged", True),
        ({"logging": {}}, "logging", True),
        ({}, "completions", False),
        ({"tasks": {"list": {}}}, "tasks.list", True),
        ({"tasks": {"requests": {"tools": {"call": {}}}}}, "tasks.requests.tools.call", True),
        ({"tasks": {"requests": {"tools": {}}}}, "tasks.requests.tools.call", False),
        ({"extensions": {TASKS: {}}}, f"extensions:{TASKS}", True),
    ],
)
def test_a_server_has_what_it_declared(members: dict[str, Any], path: str, expected: bool):
    assert has(server(**members), path) is expected


@pytest.mark.parametrize(
    ("required", "members", "expected"),
    [
        ([], {}, {}),
        (["sampling"], {"sampling": {}}, {}),
        (["sampling"], {}, {"sampling": {}}),
        (["sampling", "sampling.tools"], {}, {"sampling": {"tools": {}}}),
        (["sampling", "sampling.tools"], {"sampling": {}}, {"sampling": {"tools": {}}}),
        (["elicitation.form"], {"elicitation": {}}, {}),
        (["elicitation.url"], {"elicitation": {}}, {"elicitation": {"url": {}}}),
        (["elicitation.form"], {"elicitation": {"url": {}}}, {"elicitation": {"form": {}}}),
        (
            ["roots", "elicitation.url", f"extensions:{TASKS}"],
            {"elicitation": {"form": {}}},
            {"roots": {}, "elicitation": {"url": {}}, "extensions": {TASKS: {}}},
        ),
        ([f"extensions:{TASKS}"], {"extensions": {TASKS: {}}}, {}),
    ],
)
def test_only_what_a_client_lacks_is_missing(required: list[str], members: dict[str, Any], expected: dict[str, Any]):
    assert missing(required, client(**members)) == expected
