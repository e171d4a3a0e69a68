"""Structured tools, streaming handlers and formatters, over the wire."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest

from kailash.mcp_server import Context, Image, MCPError, MCPErrorCode, MCPServer, SimpleMCPServer
from kailash.mcp_server.advanced_features import structured_tool

from .conftest import Join

pytestmark = pytest.mark.anyio

USER = {
    "type": "object",
    "properties": {"email": {"type": "string", "format": "email"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["email"],
}
STATUS = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}


def make(place: str, ran: list[str]) -> MCPServer:
    """Return a server with a structured tool, the schemas above or below the decorator that registers it."""
    server = MCPServer("structured")

    def create_user(email: str, age: int | None = None) -> dict[str, Any]:
        ran.append(email)
        return {"status": 1 if email.startswith("broken") else "created"}

    shape = structured_tool(input_schema=USER, output_schema=STATUS)
    if place == "above":
        assert shape(server.tool()(create_user)) is create_user
    else:
        assert server.tool()(shape(create_user)) is create_user
    return server


@pytest.mark.parametrize("place", ["above", "below"])
async def test_schemas_beside_a_tool_are_shown_and_checked_on_both_sides(place: str, join: Join, revision: str) -> None:
    ran: list[str] = []
    async with join(make(place, ran), revision) as client:
        [tool] = await client.list_tools()
        assert (tool.input_schema, tool.output_schema) == (USER, STATUS)
        result = await client.call_tool("create_user", {"email": "a@example.org", "age": 3})
        assert result.structured_content == {"status": "created"}
        wrong: list[tuple[dict[str, Any], str]] = [
            ({"email": "no address"}, r"\$\.email"),
            ({"email": "a@example.org", "age": -1}, r"\$\.age"),
            ({}, "email"),
        ]
        for arguments, place_of_fault in wrong:
            with pytest.raises(MCPError, match=place_of_fault) as refused:
                await client.call_tool("create_user", arguments)
            assert refused.value.error_code == MCPErrorCode.INVALID_PARAMS
        assert ran == ["a@example.org"], "the body never sees what does not fit"
        with pytest.raises(MCPError, match=r"broke its output schema: \$\.status") as broken:
            await client.call_tool("create_user", {"email": "broken@example.org"})
        assert broken.value.error_code == MCPErrorCode.VALIDATION_ERROR


async def test_schemas_that_come_while_a_client_listens_are_told(join: Join, revision: str) -> None:
    server = MCPServer("late")
    heard: list[Any] = []
    told = anyio.Event()

    def change(what: Any) -> None:
        heard.append(what.kind)
        told.set()

    @server.tool
    def f(email: str) -> dict[str, str]:
        return {"status": email}

    async with join(server, revision, change_handler=change) as client, client.listen(tools=True):
        assert "format" not in (await client.list_tools())[0].input_schema["properties"]["email"]
        structured_tool(input_schema=USER)(f)
        with anyio.fail_after(5):
            await told.wait()
        assert (await client.list_tools())[0].input_schema == USER


async def test_one_function_at_two_servers_has_its_schemas_at_both(join: Join, revision: str) -> None:
    def f(email: str) -> dict[str, str]:
        return {"status": email}

    servers = MCPServer("one"), MCPServer("two")
    for server in servers:
        server.add_tool(f)
    servers[1].remove_tool("f")
    servers[1].add_tool(f, name="g", input_schema={"type": "object", "properties": {"email": {"maxLength": 3}}})
    structured_tool(input_schema=USER, output_schema=STATUS)(f)
    for server, takes in zip(
        servers, (USER, {"type": "object", "properties": {"email": {"maxLength": 3}}}), strict=True
    ):
        async with join(server, revision) as client:
            [tool] = await client.list_tools()
            assert (tool.input_schema, tool.output_schema) == (takes, STATUS), "an option ranks above what is beside"


@pytest.mark.parametrize(
    "dialect",
    [
        "http://json-schema.org/draft-04/schema#",
        "http://json-schema.org/draft-06/schema#",
        "http://json-schema.org/draft-07/schema#",
        "https://json-schema.org/draft/2019-09/schema",
        "https://json-schema.org/draft/2020-12/schema",
    ],
)
async def test_every_dialect_is_checked_with_its_formats(dialect: str, join: Join, revision: str) -> None:
    server = MCPServer("dialects")

    @structured_tool(input_schema={"$schema": dialect, **USER})
    @server.tool
    def f(email: str) -> str:
        return email

    async with join(server, revision) as client:
        assert (await client.call_tool("f", {"email": "a@example.org"})).data == "a@example.org"
        with pytest.raises(MCPError, match="email"):
            await client.call_tool("f", {"email": "nobody"})


async def test_a_tool_that_promises_structure_gives_it_or_fails(join: Join, revision: str) -> None:
    server = MCPServer("promises")

    @server.tool
    @structured_tool(output_schema=STATUS)
    def picture() -> Any:
        return Image(b"\x89PNG")

    @server.tool
    @structured_tool(output_schema={"type": "array", "items": {"type": "integer"}})
    def numbers() -> Any:
        return [1, 2]

    async with join(server, revision) as client:
        with pytest.raises(MCPError, match="gave no structured content"):
            await client.call_tool("picture")
        assert (await client.call_tool("numbers")).data in ([1, 2], {"result": [1, 2]})


# What yields


async def test_parts_arrive_as_they_are_made_and_the_result_has_them_all(join: Join, revision: str) -> None:
    server = MCPServer("streams")
    first = anyio.Event()

    @server.tool
    async def story(n: int) -> AsyncIterator[str]:
        """Tell a story."""
        yield "once "
        await first.wait()  # set by the client when the first part has come
        for _ in range(n):
            yield "more "

    heard: list[tuple[float, str | None]] = []

    def on_progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, message))
        first.set()

    async with join(server, revision) as client:
        [tool] = await client.list_tools()
        assert not tool.output_schema
        with anyio.fail_after(5):
            result = await client.call_tool("story", {"n": 2}, on_progress=on_progress)
        assert result.data == "once more more "
        assert heard == [(1, "once "), (2, "more "), (3, "more ")]
        assert (await client.call_tool("story", {"n": 1})).data == "once more ", "without a token, without progress"


async def test_a_plain_generator_runs_in_a_thread_and_parts_of_any_kind_are_a_list(join: Join, revision: str) -> None:
    server = MCPServer("streams")

    @server.tool
    def rows(n: int) -> Iterator[dict[str, int]]:
        for number in range(n):
            yield {"n": number}

    @server.tool
    def mixed() -> Iterator[Any]:
        yield "a picture:"
        yield Image(b"\x89PNG")

    @server.tool
    async def nothing() -> AsyncIterator[str]:
        return
        yield ""

    heard: list[str | None] = []
    async with join(server, revision) as client:
        result = await client.call_tool("rows", {"n": 2}, on_progress=lambda _p, _t, message: heard.append(message))
        assert result.data == [{"n": 0}, {"n": 1}]
        assert heard == ['{"n":0}', '{"n":1}']
        text, image = (await client.call_tool("mixed", on_progress=lambda *_: None)).content
        assert (text.text, image.mime_type) == ("a picture:", "image/png")
        assert (await client.call_tool("nothing")).data == []


async def test_a_stream_that_fails_is_a_failed_call_and_one_that_is_cancelled_is_closed(
    join: Join, revision: str
) -> None:
    server = MCPServer("streams")
    closed = anyio.Event()
    begun = anyio.Event()

    @server.tool
    async def fails() -> AsyncIterator[str]:
        yield "a"
        raise MCPError("no more", error_code=MCPErrorCode.RESOURCE_ERROR)

    @server.tool
    async def endless(ctx: Context) -> AsyncIterator[str]:
        try:
            while True:
                yield "a"
                begun.set()
                await anyio.sleep_forever()
        finally:
            closed.set()

    async with join(server, revision) as client:
        with pytest.raises(MCPError, match="no more") as error:
            await client.call_tool("fails")
        assert error.value.error_code == MCPErrorCode.RESOURCE_ERROR
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "endless")
            await begun.wait()
            group.cancel_scope.cancel()
        with anyio.fail_after(5):
            await closed.wait()


# Formatters


async def test_a_format_changes_the_text_and_not_the_structure(join: Join, revision: str) -> None:
    server = MCPServer("formats")
    rows = [{"name": "Ada", "age": 36}, {"name": "B|b", "note": "two\nlines"}]

    def people() -> dict[str, Any]:
        return {"people": rows}

    server.add_tool(people, name="plain")
    for name in ("json", "markdown", "table"):
        server.add_tool(people, name=name, format_response=name)
    server.add_tool(people, name="own", format_response=lambda value: f"{len(value['people'])} people")
    server.add_tool(lambda: [Image(b"x")], name="picture", format_response="json")
    async with join(server, revision) as client:
        texts = {}
        for name in ("plain", "json", "markdown", "table", "own"):
            result = await client.call_tool(name)
            assert result.structured_content == {"people": rows}
            texts[name] = result.text
        [image] = (await client.call_tool("picture")).content
        assert image.mime_type == "image/png"
    assert texts["json"].splitlines()[1] == '  "people": ['
    assert texts["own"] == "2 people"
    assert "| name | age | note |\n| --- | --- | --- |\n| Ada | 36 |  |\n| B\\|b |  | two<br>lines |" in texts["table"]
    assert texts["markdown"].startswith("- **people**:\n  - - **name**: Ada\n    - **age**: 36")
    with pytest.raises(ValueError, match="known: json, markdown, table, or a function"):
        server.add_tool(people, name="odd", format_response="yaml")
    with pytest.raises(TypeError, match="not int"):
        server.add_tool(people, name="odd", format_response=7)  # type: ignore[arg-type]


async def test_a_simple_server_shows_why_a_tool_failed(join: Join, revision: str) -> None:
    server = SimpleMCPServer("simple", "for a try")

    @server.tool
    def fail() -> None:
        raise KeyError("what was missing")

    async with join(server, revision) as client:
        assert client.server_info is not None and client.server_info.name == "simple"
        with pytest.raises(MCPError, match="what was missing"):
            await client.call_tool("fail")
