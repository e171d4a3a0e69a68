"""A protected server made with `mcp` 2 from PyPI, with one tool that needs a scope.

    python auth_server.py PORT TOKENS

`TOKENS` is the file that the judge gets by `--tokens`: the server knows what each of its tokens is. The package has one
list of scopes for everything and no scope that implies another, so `narrow` has none and `broad` is left out.
"""

import sys
import time
import tomllib
from pathlib import Path

from mcp.server import MCPServer
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings

PORT = int(sys.argv[1])
HERE = f"http://127.0.0.1:{PORT}/mcp"
ROWS = tomllib.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
KINDS = {ROWS[kind]: kind for kind in ("good", "narrow", "expired", "foreign") if kind in ROWS}


class Verifier(TokenVerifier):
    """Knows the tokens of the file."""

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return what a token stands for."""
        kind = KINDS.get(token)
        if kind is None:
            return None
        return AccessToken(
            token=token,
            client_id="judge",
            scopes=[] if kind == "narrow" else ["mcp:read"],
            expires_at=int(time.time()) + (-60 if kind == "expired" else 3600),
            resource="https://example.com/mcp" if kind == "foreign" else HERE,
        )


server = MCPServer(
    "protected",
    token_verifier=Verifier(),
    auth=AuthSettings(
        issuer_url="https://auth.example.com",
        resource_server_url=HERE,
        required_scopes=["mcp:read"],
        validate_token_resource=True,
    ),
)


@server.tool()
async def write() -> str:
    """Writes something."""
    return "written"


if __name__ == "__main__":
    server.run("streamable-http", host="127.0.0.1", port=PORT)
