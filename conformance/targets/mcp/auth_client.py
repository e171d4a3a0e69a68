"""A client made with `mcp` 2 from PyPI that authorizes itself: connects, lists the tools, and calls each.

Run by the interpreter of an environment that holds `mcp`; see `tests/interop/peers.py`. Scenario, revision and context
come from the environment, as the official suite has it.
"""

import asyncio
import json
import os
import sys
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.auth.extensions.identity_assertion import IdentityAssertionOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

REDIRECT = "http://localhost:3030/callback"
DOCUMENT = "https://conformance-test.local/client-metadata.json"
SCENARIO = os.environ.get("MCP_CONFORMANCE_SCENARIO", "")
REVISION = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION", "2025-11-25")
CONTEXT = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
TYPES = "urn:ietf:params:oauth:token-type"


class Storage:
    """Keeps tokens and registration for one run."""

    def __init__(self, client: OAuthClientInformationFull | None = None) -> None:
        self.tokens: OAuthToken | None = None
        self.client = client

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Browser:
    """Stands for the user's browser: goes to the address and reads where it is sent."""

    def __init__(self) -> None:
        self.answer: dict[str, list[str]] = {}

    async def go(self, address: str) -> None:
        """Visit the authorization endpoint."""
        async with httpx2.AsyncClient() as http:
            answer = await http.get(address, follow_redirects=False)
        self.answer = parse_qs(urlsplit(answer.headers.get("location", "")).query)

    async def come_back(self) -> AuthorizationCodeResult:
        """Return what the redirect said."""
        found = {name: self.answer.get(name, [None])[0] for name in ("code", "state", "iss")}
        return AuthorizationCodeResult(code=found["code"] or "", state=found["state"], iss=found["iss"])


async def fetch_grant(audience: str, resource: str) -> str:
    """Exchange the identity provider's token for one that the authorization server accepts."""
    asked = {
        "grant_type": EXCHANGE,
        "requested_token_type": f"{TYPES}:id-jag",
        "subject_token_type": f"{TYPES}:id_token",
        "subject_token": CONTEXT["idp_id_token"],
        "audience": audience,
        "resource": resource,
        "client_id": CONTEXT["idp_client_id"],
    }
    async with httpx2.AsyncClient() as http:
        answer = await http.post(CONTEXT["idp_token_endpoint"], data=asked)
    return str(answer.raise_for_status().json()["access_token"])


async def find_issuer(url: str) -> str:
    """Return the issuer that the MCP server names: the provider wants to be told."""
    parts = urlsplit(url)
    async with httpx2.AsyncClient() as http:
        answer = await http.get(f"{parts.scheme}://{parts.netloc}/.well-known/oauth-protected-resource{parts.path}")
    return str(answer.raise_for_status().json()["authorization_servers"][0])


async def make_auth(url: str) -> httpx2.Auth:
    """Return what authorizes the requests of this scenario."""
    storage = Storage()
    if SCENARIO == "auth/client-credentials-basic":
        return ClientCredentialsOAuthProvider(url, storage, CONTEXT["client_id"], CONTEXT["client_secret"])
    if SCENARIO == "auth/client-credentials-jwt":
        signed = SignedJWTParameters(
            issuer=CONTEXT["client_id"],
            subject=CONTEXT["client_id"],
            signing_key=CONTEXT["private_key_pem"],
            signing_algorithm=CONTEXT["signing_algorithm"],
        )
        return PrivateKeyJWTOAuthProvider(url, storage, CONTEXT["client_id"], signed.create_assertion_provider())
    if SCENARIO == "auth/enterprise-managed-authorization":
        return IdentityAssertionOAuthProvider(
            url,
            storage,
            CONTEXT["client_id"],
            CONTEXT["client_secret"],
            await find_issuer(url),
            fetch_grant,
            token_endpoint_auth_method="client_secret_basic",
        )
    if "client_secret" in CONTEXT:
        known = {name: CONTEXT[name] for name in ("client_id", "client_secret", "issuer")}
        storage = Storage(
            OAuthClientInformationFull(
                redirect_uris=[REDIRECT], token_endpoint_auth_method="client_secret_basic", **known
            )
        )
    browser = Browser()
    about = OAuthClientMetadata(
        client_name="judged",
        redirect_uris=[REDIRECT],
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
    )
    return OAuthClientProvider(url, about, storage, browser.go, browser.come_back, client_metadata_url=DOCUMENT)


async def main(url: str) -> None:
    """Connect, list the tools, and call each."""
    mode = REVISION if REVISION >= "2026" else "legacy"
    async with httpx2.AsyncClient(auth=await make_auth(url), timeout=10) as http:
        async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
            for tool in (await client.list_tools()).tools:
                await client.call_tool(tool.name, {})


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
