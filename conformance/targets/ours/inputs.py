"""Tools that ask the client. The same body serves both eras: a request on the stream, or `input_required`."""

import asyncio
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET

from kailash.mcp_server import Context, MCPServer
from kailash.mcp_server.context import Elicitation

__all__ = ["Name", "add_inputs"]


@dataclass
class Name:
    """A form."""

    name: str


@dataclass
class Consent:
    """A form."""

    ok: bool


@dataclass
class Color:
    """A form."""

    color: str


@dataclass
class Account:
    """A form."""

    username: str
    email: str


_DEFAULTS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    },
}


def _titled(prefix: str) -> list[dict[str, str]]:
    return [{"const": f"{prefix}{number}", "title": f"Title {number}"} for number in (1, 2, 3)]


_OPTIONS = ["option1", "option2", "option3"]
_CHOICES: dict[str, Any] = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": _OPTIONS},
        "titledSingle": {"type": "string", "oneOf": _titled("value")},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": _OPTIONS}},
        "titledMulti": {"type": "array", "items": {"anyOf": _titled("value")}},
    },
}


def add_inputs(server: MCPServer) -> None:
    """Register the tools."""
    _add_plain(server)
    _add_single(server)
    _add_several(server)


def _add_plain(server: MCPServer) -> None:
    @server.tool
    async def test_sampling(prompt: str, ctx: Context) -> str:
        """Asks the client's model.

        Args:
            prompt: what to ask
        """
        answer = await ctx.sample(prompt, max_tokens=100)
        return f"LLM response: {_said(answer)}"

    @server.tool
    async def test_elicitation(message: str, ctx: Context) -> str:
        """Asks the user.

        Args:
            message: what to ask
        """
        answer = await ctx.elicit(message, Account)
        return f"User response: {answer.action} {answer.data}"

    @server.tool
    async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
        """Shows the user a form that is filled in already."""
        answer: Elicitation[Any] = await ctx.elicit("Please check what is filled in", _DEFAULTS)
        return f"Elicitation completed: {answer.action} {answer.data}"

    @server.tool
    async def test_elicitation_sep1330_enums(ctx: Context) -> str:
        """Shows the user a form with every kind of choice."""
        answer: Elicitation[Any] = await ctx.elicit("Please choose", _CHOICES)
        return f"Elicitation completed: {answer.action} {answer.data}"

    @server.tool
    async def test_missing_capability(ctx: Context) -> str:
        """Needs a client with a model."""
        return _said(await ctx.sample("Say hello", max_tokens=20))

    @server.tool
    async def test_streaming_elicitation(ctx: Context) -> str:
        """Asks the user, in an answer that may be a stream."""
        answer = await ctx.elicit("Shall we go on?", Consent)
        return f"User response: {answer.action}"


def _add_single(server: MCPServer) -> None:
    @server.tool
    async def test_input_required_result_elicitation(ctx: Context) -> str:
        """Asks for a name."""
        answer = await ctx.elicit("What is your name?", Name, key="user_name")
        return f"Hello, {answer.data.name if answer.data else 'stranger'}!"

    @server.tool
    async def test_input_required_result_sampling(ctx: Context) -> str:
        """Asks the client's model."""
        answer = await ctx.sample("What is the capital of France?", max_tokens=100, key="capital_question")
        return _said(answer)

    @server.tool
    async def test_input_required_result_list_roots(ctx: Context) -> str:
        """Asks which folders the client shows."""
        roots = await ctx.list_roots(key="client_roots")
        return f"Roots: {', '.join(root.uri for root in roots)}"

    @server.tool
    async def test_input_required_result_request_state(ctx: Context) -> str:
        """Asks for consent, and relies on the state that comes back with it."""
        answer = await ctx.elicit("Please confirm", Consent, key="confirm")
        return f"state-ok: {answer.action}"

    @server.tool
    async def test_input_required_result_tampered_state(ctx: Context) -> str:
        """Asks for consent; state that was meddled with is refused."""
        answer = await ctx.elicit("Please confirm", Consent, key="confirm")
        return f"integrity-ok: {answer.action}"

    @server.tool
    async def test_input_required_result_capabilities(ctx: Context) -> str:
        """Asks only what the client says it can answer."""
        if ctx.capabilities.sampling is not UNSET:
            return _said(await ctx.sample("Say hello", max_tokens=50, key="greeting"))
        answer = await ctx.elicit("What is your name?", Name, key="user_name")
        return f"User response: {answer.action}"


def _add_several(server: MCPServer) -> None:
    @server.tool
    async def test_input_required_result_multiple_inputs(ctx: Context) -> str:
        """Asks the user, the model and the client, all at once."""
        name, greeting, roots = await asyncio.gather(
            ctx.elicit("What is your name?", Name, key="user_name"),
            ctx.sample("Write a greeting", max_tokens=50, key="greeting"),
            ctx.list_roots(key="client_roots"),
        )
        return f"{_said(greeting)}, {name.data}, with {len(roots)} roots"

    @server.tool
    async def test_input_required_result_multi_round(ctx: Context) -> str:
        """Asks one question after the other."""
        name = await ctx.elicit("Step 1: What is your name?", Name, key="step1")
        color = await ctx.elicit("Step 2: What is your favorite color?", Color, key="step2")
        return f"{name.data} likes {color.data}"


def _said(answer: Any) -> str:
    return str(getattr(answer.content, "text", answer.content))
