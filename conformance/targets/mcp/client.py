"""What the judge asks of a client, written with `mcp` 2.x: a model for a client of your own. It runs without the judge.

    python client.py http://127.0.0.1:3001/mcp
    python client.py COMMAND [ARGUMENT...]      # the command of a server on its standard streams

It connects to the address that is appended, calls every tool, reads every resource, gets every prompt, and ends with a
status other than 0 if any of that fails. `MCP_CONFORMANCE_PROTOCOL_VERSION` says which revision the server speaks,
`MCP_CONFORMANCE_SCENARIO` what it is about.
"""

import json
import os
import sys
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx2
from mcp import Client, StdioServerParameters, types
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata

SCENARIO = os.environ.get("MCP_CONFORMANCE_SCENARIO", "")
VERSION = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION", "")
CONTEXT: dict[str, Any] = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
NEWEST = "2026-07-28"

PLAIN: dict[str, Any] = {"string": "text", "integer": 5, "number": 5.5, "boolean": True, "array": [], "object": {}}


def value(schema: dict[str, Any]) -> Any:
    """Return a value that fits a simple schema."""
    if "const" in schema:
        return schema["const"]
    if "default" in schema:
        return schema["default"]
    choices = schema.get("enum") or [each["const"] for each in schema.get("oneOf", []) if "const" in each]
    return choices[0] if choices else PLAIN.get(str(schema.get("type")), "text")


def filled(schema: dict[str, Any]) -> dict[str, Any]:
    """Return an object that fits a simple schema."""
    return {name: value(row) for name, row in schema.get("properties", {}).items()}


async def sample(context: Any, params: Any) -> types.CreateMessageResult:
    """Answer in the place of a model."""
    text = types.TextContent(type="text", text="an answer")
    return types.CreateMessageResult(role="assistant", content=text, model="none", stop_reason="endTurn")


async def fill_in(context: Any, params: Any) -> types.ElicitResult:
    """Fill in a form in the place of a user."""
    return types.ElicitResult(action="accept", content=filled(getattr(params, "requested_schema", None) or {}))


async def roots(context: Any) -> types.ListRootsResult:
    """Say where the user works."""
    return types.ListRootsResult(roots=[types.Root(uri="file:///home/user/project", name="project")])


async def every(pages: Any, member: str) -> list[Any]:
    """Return the entries of all the pages of a list."""
    found: list[Any] = []
    cursor = None
    while True:
        page = await pages(cursor=cursor)
        found += getattr(page, member)
        cursor = page.next_cursor
        if cursor is None:
            return found


async def use_everything(client: Client) -> None:
    """Call every tool, read every resource, get every prompt."""
    offered = client.server_capabilities
    if offered.tools:
        for tool in await every(client.list_tools, "tools"):
            await client.call_tool(tool.name, filled(tool.input_schema))
    if offered.resources:
        for resource in await every(client.list_resources, "resources"):
            await client.read_resource(str(resource.uri))
    if offered.prompts:
        for prompt in await every(client.list_prompts, "prompts"):
            await client.get_prompt(prompt.name, {each.name: "text" for each in prompt.arguments or []})


async def look_only(client: Client) -> None:
    """List the tools."""
    await client.list_tools()


async def echo_schema(client: Client) -> None:
    """Send a tool's schema back as it was received."""
    tools = {tool.name: tool for tool in await every(client.list_tools, "tools")}
    await client.call_tool("json_schema_echo", {"schema": tools["json_schema_2020_12_tool"].input_schema})


async def call_as_told(client: Client) -> None:
    """Make the calls that the context lists."""
    await client.list_tools()
    for call in CONTEXT["toolCalls"]:
        await client.call_tool(call["name"], call["arguments"])


SCENARIOS = {
    "json-schema-ref-no-deref": look_only,
    "json-schema-2020-12-preservation": echo_schema,
    "http-custom-headers": call_as_told,
}


class Storage:
    """Remembers a token and who the client is, for as long as it runs."""

    def __init__(self, known: OAuthClientInformationFull | None = None) -> None:
        self.tokens: Any = None
        self.known = known

    async def get_tokens(self) -> Any:
        """Return the token."""
        return self.tokens

    async def set_tokens(self, tokens: Any) -> None:
        """Remember a token."""
        self.tokens = tokens

    async def get_client_info(self) -> Any:
        """Return who the client is."""
        return self.known

    async def set_client_info(self, client_info: Any) -> None:
        """Remember who the client is."""
        self.known = client_info


class Browser:
    """Goes where a user's browser would, and back."""

    def __init__(self) -> None:
        self.location = ""

    async def go(self, url: str) -> None:
        """Ask for authorization: the server redirects at once."""
        async with httpx2.AsyncClient() as http:
            answer = await http.get(url, follow_redirects=False)
        self.location = answer.headers["location"]

    async def come_back(self) -> AuthorizationCodeResult:
        """Return what the redirection says."""
        given = {name: values[0] for name, values in parse_qs(urlsplit(self.location).query).items()}
        return AuthorizationCodeResult(code=given["code"], state=given.get("state"), iss=given.get("iss"))


def authorization(url: str) -> Any:
    """Return what authorizes the client, as the scenario has it."""
    if SCENARIO == "auth/client-credentials-basic":
        return ClientCredentialsOAuthProvider(url, Storage(), CONTEXT["client_id"], CONTEXT["client_secret"])
    if SCENARIO == "auth/client-credentials-jwt":
        signed = SignedJWTParameters(
            issuer=CONTEXT["client_id"],
            subject=CONTEXT["client_id"],
            signing_key=CONTEXT["private_key_pem"],
            signing_algorithm=CONTEXT["signing_algorithm"],
        )
        return PrivateKeyJWTOAuthProvider(
            url, Storage(), CONTEXT["client_id"], assertion_provider=signed.create_assertion_provider()
        )
    known = None
    if SCENARIO == "auth/pre-registration":
        known = OAuthClientInformationFull(
            client_id=CONTEXT["client_id"],
            client_secret=CONTEXT["client_secret"],
            redirect_uris=["http://localhost:3030/callback"],
            token_endpoint_auth_method="client_secret_basic",
            **({"issuer": CONTEXT["issuer"]} if "issuer" in OAuthClientInformationFull.model_fields else {}),
        )
    browser = Browser()
    return OAuthClientProvider(
        url,
        OAuthClientMetadata(
            client_name="judged",
            redirect_uris=["http://localhost:3030/callback"],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
        ),
        Storage(known),
        redirect_handler=browser.go,
        callback_handler=browser.come_back,
        client_metadata_url="https://conformance-test.local/client-metadata.json",
    )


async def run(address: list[str]) -> None:
    """Connect and do what the scenario calls for."""
    mode = "auto" if VERSION in ("", NEWEST) else "legacy"
    options: dict[str, Any] = {
        "mode": mode,
        "sampling_callback": sample,
        "elicitation_callback": fill_in,
        "list_roots_callback": roots,
        "client_info": types.Implementation(name="judged", version="1.0.0"),
    }
    task = SCENARIOS.get(SCENARIO, use_everything)
    if not address[0].startswith("http"):
        async with Client(StdioServerParameters(command=address[0], args=address[1:]), **options) as client:
            await task(client)
    elif not SCENARIO.startswith("auth/"):
        async with Client(address[0], **options) as client:
            await task(client)
    else:
        async with httpx2.AsyncClient(auth=authorization(address[0]), follow_redirects=True) as http:
            async with Client(streamable_http_client(address[0], http_client=http), **options) as client:
                await task(client)


if __name__ == "__main__":
    anyio.run(run, sys.argv[1:])
