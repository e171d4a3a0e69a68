"""Resources, templates, prompts and completion over the wire."""

import base64
from typing import Any

import pytest

from kailash.mcp_server import Image, MCPError, MCPErrorCode, MCPServer
from protocol.types import Completion, PromptMessage, TextContent, TextResourceContents

from .conftest import LAST_HANDSHAKE, NEWEST, Join
from .raw import RawPeer

pytestmark = pytest.mark.anyio
rule = pytest.mark.rule


def make(**options: Any) -> MCPServer:
    server = MCPServer("library", **options)

    @server.resource("config://settings", title="Settings", mime_type="application/json", size=7)
    def settings() -> dict[str, int]:
        """How it is set."""
        return {"a": 1}

    @server.resource("file:///logo")
    async def logo() -> bytes:
        return b"\x89PNG"

    @server.resource("two://parts")
    def parts() -> list[TextResourceContents]:
        return [TextResourceContents(uri=f"two://parts/{n}", text=str(n)) for n in (1, 2)]

    @server.resource("users://{user_id}/posts/{slug}")
    def post(user_id: int, slug: str) -> str:
        """One post."""
        return f"{user_id + 1}:{slug}"

    @server.resource("files:///{+path}")
    def file(path: str) -> str:
        return path

    @server.prompt(title="Greeting")
    def greet(name: str, times: int = 1) -> str:
        """Greet somebody.

        Args:
            name: whom
        """
        return "hi " + name * times

    @server.prompt
    async def talk() -> list[Any]:
        return [
            "a question",
            PromptMessage(role="assistant", content=TextContent(text="an answer")),
            {"role": "user", "content": "more"},
            Image(b"png"),
        ]

    @server.completion(prompt="greet", argument="name")
    def names(value: str) -> list[str]:
        return [name for name in ("bill", "bob", "eve") if name.startswith(value)]

    @server.completion(template="users://{user_id}/posts/{slug}", argument="slug")
    async def slugs(value: str, arguments: dict[str, str]) -> list[str]:
        return [f"{arguments.get('user_id', '?')}-{number}" for number in range(150)]

    return server


@rule(119, 132)
async def test_resources_are_listed_and_read(join: Join, revision: str) -> None:
    async with join(make(page_size=2), revision) as client:
        listed = {resource.uri: resource for resource in await client.list_resources()}
        assert list(listed) == ["config://settings", "file:///logo", "two://parts"]
        settings = listed["config://settings"]
        assert (settings.name, settings.title, settings.mime_type, settings.size) == (
            "settings",
            "Settings",
            "application/json",
            7,
        )
        assert settings.description == "How it is set."
        read = await client.read_resource("config://settings")
        assert read == {"a": 1} and read.contents[0].uri == "config://settings"
        assert (await client.read_resource("file:///logo")).blob == b"\x89PNG"
        assert [part.uri for part in (await client.read_resource("two://parts")).contents] == [
            "two://parts/1",
            "two://parts/2",
        ]


async def test_templates_are_listed_matched_and_typed(join: Join, revision: str) -> None:
    async with join(make(), revision) as client:
        templates = [template.uri_template for template in await client.list_resource_templates()]
        assert templates == ["users://{user_id}/posts/{slug}", "files:///{+path}"]
        assert (await client.read_resource("users://41/posts/a%20b")).text == "42:a b"
        assert (await client.read_resource("files:///a/b/c.txt")).text == "a/b/c.txt"
        with pytest.raises(MCPError, match="user_id") as wrong:
            await client.read_resource("users://x/posts/a")
        assert wrong.value.error_code == MCPErrorCode.INVALID_PARAMS


@rule(130)
@pytest.mark.parametrize(
    "uri", ["config://nothing", "files:///../etc/passwd", "files:///a/%2e%2e/b", "users://1%2F2/posts/a"]
)
async def test_a_missing_resource_is_an_error_with_the_code_of_its_era(join: Join, uri: str) -> None:
    for revision, code in ((NEWEST, MCPErrorCode.INVALID_PARAMS), (LAST_HANDSHAKE, MCPErrorCode.RESOURCE_NOT_FOUND)):
        async with join(make(), revision) as client:
            with pytest.raises(MCPError, match="not found") as missing:
                await client.read_resource(uri)
            assert missing.value.error_code == code and missing.value.data == {"uri": uri}


@rule(131)
async def test_the_client_understands_the_older_code_in_every_revision(join: Join, revision: str) -> None:
    server = MCPServer("old code")

    @server.resource("gone://{x}")
    def gone(x: str) -> str:
        raise MCPError("gone", error_code=MCPErrorCode.RESOURCE_NOT_FOUND)

    async with join(server, revision) as client:
        with pytest.raises(MCPError) as missing:
            await client.read_resource("gone://1")
        # The newest revision must not emit it, so it never travels there.
        expected = MCPErrorCode.INVALID_PARAMS if revision == NEWEST else MCPErrorCode.RESOURCE_NOT_FOUND
        assert missing.value.error_code == expected


@rule(137)
async def test_updates_come_for_subscribed_uris_until_unsubscribed(join: Join, revision: str) -> None:
    server = make()
    async with join(server, revision) as client:
        async with client.listen(uris=["config://settings"]) as changes:
            server.notify_resource_updated("file:///logo")
            server.notify_resource_updated("config://settings")
            async for change in changes:
                assert change.uri == "config://settings"
                break
        await client.ping()
        heard: list[Any] = []
        client._change_handler = heard.append
        server.notify_resource_updated("config://settings")
        await client.ping()
        assert heard == []


@rule(133)
async def test_prompts_are_listed_and_filled_in(join: Join, revision: str) -> None:
    async with join(make(), revision) as client:
        prompts = {prompt.name: prompt for prompt in await client.list_prompts()}
        assert prompts["greet"].title == "Greeting" and prompts["greet"].description == "Greet somebody."
        arguments = {argument.name: argument for argument in prompts["greet"].arguments}
        assert arguments["name"].required is True and arguments["name"].description == "whom"
        assert arguments["times"].required is False
        filled = await client.get_prompt("greet", {"name": "bo", "times": 2})
        assert filled.messages[0].content.text == "hi bobo" and filled.messages[0].role == "user"
        talk = await client.get_prompt("talk")
        assert [message.role for message in talk.messages] == ["user", "assistant", "user", "user"]
        assert base64.b64decode(talk.messages[3].content.data) == b"png"
        for name, given, named in (
            ("nope", {}, "nope"),
            ("greet", {}, "name"),
            ("greet", {"name": "a", "x": "1"}, "x"),
        ):
            with pytest.raises(MCPError, match=named) as wrong:
                await client.get_prompt(name, given)
            assert wrong.value.error_code == MCPErrorCode.INVALID_PARAMS
        with pytest.raises(MCPError, match="times"):
            await client.get_prompt("greet", {"name": "a", "times": "many"})


@rule(136)
async def test_completion_suggests_at_most_a_hundred_values(join: Join, revision: str) -> None:
    async with join(make(), revision) as client:
        assert (await client.complete("name", "b", prompt="greet")).values == ["bill", "bob"]
        template = "users://{user_id}/posts/{slug}"
        many = await client.complete("slug", "", template=template, context={"user_id": "7"})
        assert isinstance(many, Completion)
        assert len(many.values) == 100 and many.total == 150 and many.has_more is True and many.values[0] == "7-0"
        assert (await client.complete("user_id", "x", template=template)).values == []
        for ref, argument in (
            ({"prompt": "nope"}, "name"),
            ({"prompt": "greet"}, "nope"),
            ({"template": "no://"}, "x"),
        ):
            with pytest.raises(MCPError) as wrong:
                await client.complete(argument, "", **ref)
            assert wrong.value.error_code == MCPErrorCode.INVALID_PARAMS


@rule(38)
async def test_what_is_not_offered_is_not_declared_and_answers_method_not_found() -> None:
    async with RawPeer(MCPServer("empty")) as peer:
        declared = (await peer.ask_modern("server/discover"))["result"]["capabilities"]
        assert set(declared) == {"logging", "tools"}
        for number, method in enumerate(("resources/list", "prompts/list", "completion/complete"), 2):
            assert (await peer.ask_modern(method, id=number))["error"]["code"] == -32601
    async with RawPeer(MCPServer("empty")) as peer:
        assert set((await peer.initialize(LAST_HANDSHAKE))["capabilities"]) == {"logging", "tools"}
        assert (await peer.ask("resources/list"))["error"]["code"] == -32601


@rule(41)
async def test_lists_do_not_depend_on_the_connection_or_on_earlier_requests() -> None:
    server = make()
    async with RawPeer(server) as one, RawPeer(server) as two:
        await one.ask_modern("resources/read", {"uri": "config://settings"}, id=9)
        for method in ("resources/list", "resources/templates/list", "prompts/list", "tools/list"):
            assert await one.ask_modern(method) == await two.ask_modern(method)


async def test_registration_mistakes_are_told_at_once() -> None:
    server = MCPServer("mistakes")
    with pytest.raises(TypeError, match="no variables to fill name"):
        server.resource("x://y")(lambda name: name)
    with pytest.raises(TypeError, match="no variable for b"):
        server.resource("x://{a}")(lambda a, b: a)
    with pytest.raises(TypeError, match="no parameter c"):
        server.resource("x://{a}/{c}")(lambda a: a)
    with pytest.raises(TypeError, match="needs its URI"):
        server.resource(lambda: 1)
    with pytest.raises(TypeError, match="prompt= or a template="):
        server.completion(argument="x")
    with pytest.raises(ValueError, match="name"):
        MCPServer("")
    with pytest.raises(ValueError, match="known: 2024"):
        MCPServer("x", revisions=["2020-01-01"])
    with pytest.raises(ValueError, match="page_size"):
        MCPServer("x", page_size=0)
