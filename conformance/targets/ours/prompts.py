"""Prompts: with and without arguments, with content, one that asks, one that comes and goes; and completion."""

from dataclasses import dataclass
from typing import Any

from kailash.mcp_server import Context, Image, MCPServer
from kailash.mcp_server.advanced_features import MultiModalContent

from .media import PNG

__all__ = ["add_prompts"]

_WORDS = ("testValue1", "testValue2", "other")


@dataclass
class Background:
    """A form."""

    context: str


def add_prompts(server: MCPServer) -> None:
    """Register the prompts."""
    _add_changes(server)

    @server.prompt
    async def test_simple_prompt() -> str:
        """A prompt without arguments."""
        return "This is a simple prompt for testing."

    @server.prompt
    async def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        """A prompt with two arguments.

        Args:
            arg1: the first
            arg2: the second
        """
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.completion(prompt="test_prompt_with_arguments", argument="arg1")
    async def words(typed: str) -> list[str]:
        return [word for word in _WORDS if word.startswith(typed)]

    @server.prompt
    async def test_prompt_with_embedded_resource(resourceUri: str) -> list[Any]:
        """A prompt with a resource in it.

        Args:
            resourceUri: where the resource comes from
        """
        content = MultiModalContent().add_resource(resourceUri, "Embedded resource content for testing.", "text/plain")
        return [*content.blocks, "Please process the embedded resource above."]

    @server.prompt
    async def test_prompt_with_image() -> list[Any]:
        """A prompt with an image in it."""
        return [Image(PNG, "image/png"), "Please analyze the image above."]

    @server.prompt
    async def test_input_required_result_prompt(ctx: Context) -> str:
        """A prompt that needs to know more first."""
        answer = await ctx.elicit("What is it about?", Background, key="user_context")
        return f"This is about {answer.data.context if answer.data else 'nothing in particular'}."


def _add_changes(server: MCPServer) -> None:
    async def test_changing_prompt() -> str:
        """Goes away and comes back when `test_trigger_prompt_change` is called."""
        return "Say that you are still here."

    @server.tool
    async def test_trigger_prompt_change(ctx: Context) -> str:
        """Changes the list of prompts, and changes it back."""
        ctx.server.remove_prompt("test_changing_prompt")
        ctx.server.prompt(test_changing_prompt)
        return "the list of prompts changed"

    server.prompt(test_changing_prompt)
