"""A realm: a scripted MCP server that demands tokens, the authorization servers it trusts, and all they were asked.

What a client asks is kept in one log, in the order in which it came, so that a scenario can look at all of it. Every
answer can be changed by the scenario; unchanged it is what the specification wants.
"""

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from .proofs import Forged, check_dpop
from .redaction import Redactor
from .scripted import Head, ScriptedServer

if TYPE_CHECKING:
    from .authserver import AuthServer

__all__ = ["PRM", "Answered", "Exchange", "Realm", "Token"]

PRM = "/.well-known/oauth-protected-resource"
Answered = tuple[int, dict[str, str], bytes]


@dataclass(slots=True, eq=False)
class Exchange:
    """One HTTP request of the client's, taken apart."""

    place: str
    """The name of the server: `mcp`, or an authorization server's."""
    head: Head
    body: bytes
    kind: str = "other"
    """`mcp`, `prm`, `metadata`, `register`, `authorize`, `token` or `other`."""
    status: int = 0
    problem: str = ""
    """Why it was refused."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the server made of it: `client_id`, `method` of the client's proof, `token`."""

    @property
    def path(self) -> str:
        """The path, without the query."""
        return urlsplit(self.head.target).path

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the address."""
        return dict(parse_qsl(urlsplit(self.head.target).query, keep_blank_values=True))

    @property
    def form(self) -> dict[str, str]:
        """The parameters of the body."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    @property
    def json(self) -> dict[str, Any]:
        """The body as an object; empty if it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def scopes(self) -> set[str]:
        """The scopes it asks for."""
        return set((self.query | self.form).get("scope", "").split())

    def show(self) -> str:
        """Say in short what it is."""
        return f"{self.head.method} {self.path} at {self.place}"


@dataclass(slots=True, eq=False)
class Token:
    """An access token that was issued."""

    value: str
    issuer: str
    client_id: str
    scopes: set[str]
    expires_at: float
    thumbprint: str | None = None
    """Of the key it is bound to."""


class Realm:
    """A scripted server behind a gate that lets only good tokens pass."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        server.gate = self._gate
        self.log: list[Exchange] = []
        self.trusted: list[AuthServer] = []
        self.tokens: dict[str, Token] = {}
        self.resource = server.address
        """What the metadata says the resource is."""
        self.metadata_paths = [f"{PRM}/mcp"]
        self.metadata_more: dict[str, Any] = {}
        self.is_told = True
        """The challenge says where the metadata is."""
        self.scope: str | None = None
        """The scope that the challenge names."""
        self.challenge: Callable[[str], str] = lambda usual: usual
        """Changes the challenge of a 401."""
        self.needs: Callable[[dict[str, Any]], set[str]] = lambda message: set()
        """The scopes that a message needs."""
        self.passed: Callable[[Exchange], None] = lambda exchange: None
        """Is told of each request that passed."""
        self.binds = False
        """Tokens have to be bound to a key."""
        self.nonce: str | None = None
        self._proofs: set[str] = set()

    @property
    def redact(self) -> Redactor:
        """What keeps the transcript free of secrets."""
        return self.server.transcript.redact

    @property
    def origin(self) -> str:
        """The origin of the MCP server."""
        parts = urlsplit(self.server.address)
        return f"{parts.scheme}://{parts.netloc}"

    # What was seen.

    def of(self, kind: str, place: str | None = None) -> list[Exchange]:
        """Return the exchanges of a kind, of one server or of all."""
        return [each for each in self.log if each.kind == kind and place in (None, each.place)]

    @property
    def accepted(self) -> list[Exchange]:
        """The MCP requests that passed with a token."""
        return [each for each in self.of("mcp") if each.status == 200]

    @property
    def is_tried(self) -> bool:
        """Tell whether the client did anything about authorization."""
        return any(each.kind != "mcp" or each.head.get("authorization") is not None for each in self.log)

    # What is answered.

    def issue(self, issuer: str, client_id: str, scopes: set[str], lifetime: float, thumbprint: str | None) -> Token:
        """Make an access token."""
        value = self.redact.hide(f"at-{secrets.token_urlsafe(18)}", f"access token {len(self.tokens) + 1}")
        self.tokens[value] = Token(value, issuer, client_id, scopes, time.monotonic() + lifetime, thumbprint)
        return self.tokens[value]

    def metadata(self) -> dict[str, Any]:
        """Return the metadata of the resource."""
        made = {
            "resource": self.resource,
            "authorization_servers": [each.issuer for each in self.trusted],
            "bearer_methods_supported": ["header"],
        }
        return {name: value for name, value in {**made, **self.metadata_more}.items() if value is not ...}

    def _gate(self, head: Head, body: bytes) -> Answered | None:
        exchange = Exchange("mcp", head, body)
        self.log.append(exchange)
        answered = self._answer(exchange)
        exchange.status = answered[0] if answered else 200
        return answered

    def _answer(self, exchange: Exchange) -> Answered | None:
        if exchange.path != urlsplit(self.server.address).path:
            return self._other(exchange)
        exchange.kind = "mcp"
        value, problem = self._token(exchange)
        if problem is not None:
            exchange.problem = problem
            told = {"WWW-Authenticate": self.challenge(self._challenge(problem))}
            if self.nonce is not None:
                told["DPoP-Nonce"] = self.nonce
            return 401, told, b""
        missing = self.needs(exchange.json) - self.tokens[value].scopes
        exchange.facts["token"] = self.tokens[value]
        if missing:
            exchange.problem = f"needs {' '.join(sorted(missing))}"
            needed = " ".join(sorted(self.needs(exchange.json)))
            return 403, {"WWW-Authenticate": self._bearer(error="insufficient_scope", scope=needed)}, b""
        self.passed(exchange)
        return None

    def _other(self, exchange: Exchange) -> Answered:
        if exchange.path.startswith(PRM) or exchange.path in self.metadata_paths:
            exchange.kind = "prm"
            if exchange.path in self.metadata_paths:
                return 200, {}, json.dumps(self.metadata()).encode()
        for each in self.trusted:
            if each.is_inside(self) and (found := each.answer(exchange)) is not None:
                return found
        return 404, {}, b""

    def _token(self, exchange: Exchange) -> tuple[str, str | None]:
        """Return the token of a request, and what is wrong with it."""
        given = exchange.head.get("authorization")
        scheme, _, value = (given or "").partition(" ")
        value = value.strip()
        if given is None:
            return "", ""
        token = self.tokens.get(value)
        if scheme.lower() != ("dpop" if self.binds else "bearer"):
            return value, f"the scheme is {scheme!r}"
        if token is None:
            return value, "an unknown token"
        if token.issuer not in [each.issuer for each in self.trusted]:
            return value, "a token of an authorization server that is not this server's"
        if token.expires_at < time.monotonic():
            return value, "an expired token"
        return value, self._proof(exchange, token) if self.binds else None

    def _proof(self, exchange: Exchange, token: Token) -> str | None:
        proof, address = exchange.head.get("dpop"), f"{self.origin}{exchange.path}"
        if proof is None:
            return "no DPoP proof"
        try:
            print_, name = check_dpop(proof, exchange.head.method, address, nonce=self.nonce, token=token.value)
        except Forged as error:
            return str(error) if str(error) == "use_dpop_nonce" else f"the DPoP proof: {error}"
        if print_ != token.thumbprint:
            return "the DPoP proof is of another key"
        if name in self._proofs:
            return "the DPoP proof was used before"
        self._proofs.add(name)
        return None

    def _challenge(self, problem: str) -> str:
        more: dict[str, str] = {}
        if self.is_told:
            more["resource_metadata"] = f"{self.origin}{self.metadata_paths[0]}"
        if self.scope is not None:
            more["scope"] = self.scope
        if problem:
            is_nonce = problem == "use_dpop_nonce"
            more["error"] = problem if is_nonce else "invalid_dpop_proof" if "proof" in problem else "invalid_token"
        return self._bearer(**more)

    def _bearer(self, **parameters: str) -> str:
        if "error" in parameters and self.is_told:
            parameters.setdefault("resource_metadata", f"{self.origin}{self.metadata_paths[0]}")
        scheme = "DPoP" if self.binds else "Bearer"
        shown = ", ".join(f'{name}="{value}"' for name, value in parameters.items())
        return f"{scheme} {shown}".strip()
