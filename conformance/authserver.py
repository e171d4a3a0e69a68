"""A scripted authorization server: OAuth 2.1 on a loopback socket, sound until a scenario makes it something else.

It asks nobody: its authorization endpoint redirects at once, with a code. It refuses what no authorization server could
accept (an unknown client, a code that it never gave) and lets pass what is the client's duty alone (a missing PKCE
challenge, a missing `resource`), so that the scenario can name what was missed.
"""

import asyncio
import base64
import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlencode

from .proofs import Forged, KeyPair, check_assertion, check_dpop
from .realm import Answered, Exchange, Realm
from .scripted import read_request, write_answer

__all__ = ["ASSERTION", "EXCHANGE", "ID_JAG", "ID_TOKEN", "JWT_BEARER", "OAUTH", "OPENID", "AuthServer", "Client"]

OAUTH = "/.well-known/oauth-authorization-server"
OPENID = "/.well-known/openid-configuration"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ID_JAG = "urn:ietf:params:oauth:token-type:id-jag"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"


@dataclass(slots=True)
class Client:
    """A client that the server knows."""

    client_id: str
    secret: str | None = None
    method: str = "none"
    """How it proves itself at the token endpoint."""
    redirect_uris: tuple[str, ...] = ()
    """Those it registered; none: any."""
    key: KeyPair | None = None
    """With which it signs its assertions."""


class Refused(Exception):
    """An OAuth error: its code, what was wrong, and the status."""

    def __init__(self, error: str, problem: str, status: int = 400) -> None:
        super().__init__(problem)
        self.error = error
        self.status = status


class AuthServer:
    """An authorization server of a realm.

    Args:
        realm: whose it is.
        name: under which it stands in the log.
        path: of its issuer.
        inside: it has no socket of its own but lives at the MCP server's origin.
        trusted: the MCP server names it, and takes its tokens.
    """

    def __init__(
        self, realm: Realm, name: str = "as", *, path: str = "", inside: bool = False, trusted: bool = True
    ) -> None:
        self.realm = realm
        self.name = name
        self.path = path
        self.inside = inside
        self.origin = realm.origin
        self.prefix = path
        """Stands before the paths of the endpoints."""
        self.metadata_paths = [f"{OAUTH}{path}"]
        self.metadata_more: dict[str, Any] = {}
        """Members of the metadata that are added or replaced; `...` leaves one out."""
        self.method = "none"
        """How clients that register shall prove themselves."""
        self.iss: str | None = ...  # type: ignore[assignment]
        """What `iss` the redirect says: the issuer, unless changed; `None` leaves it out."""
        self.state: Callable[[str], str] = lambda given: given
        self.error: dict[str, str] = {}
        """Instead of a code, the redirect says this error."""
        self.lifetime = 3600.0
        self.refreshes = False
        """Issues refresh tokens."""
        self.withheld: set[str] = set()
        """Scopes that are never granted."""
        self.grants = {"authorization_code", "refresh_token"}
        self.binds = False
        """Tokens are bound to the key of a DPoP proof."""
        self.nonce: str | None = None
        self.clients: dict[str, Client] = {}
        self.assertions: dict[str, dict[str, Any]] = {}
        """What is accepted as the assertion of a grant, and the claims in it."""
        self.subjects: set[str] = set()
        """Subject tokens that may be exchanged."""
        self.key: KeyPair | None = None
        self._codes: dict[str, dict[str, str]] = {}
        self.refresh_tokens: dict[str, tuple[str, set[str]]] = {}
        """Those that were issued, with the client and the scopes; used ones stay, with no client."""
        self._listening: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        if trusted:
            realm.trusted.append(self)

    @property
    def issuer(self) -> str:
        """Its identifier."""
        return f"{self.origin}{self.path}"

    def url(self, endpoint: str) -> str:
        """Return the address of an endpoint."""
        return f"{self.origin}{self.prefix}/{endpoint}"

    async def start(self) -> None:
        """Listen, unless it lives inside."""
        if not self.inside:
            self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
            self.origin = f"http://127.0.0.1:{self._listening.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Stop."""
        if self._listening is not None:
            self._listening.close()
        for writer in self._writers:
            writer.close()

    def is_inside(self, realm: Realm) -> bool:
        """Tell whether it answers at the MCP server's origin."""
        return self.inside

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        transcript = self.realm.server.transcript
        try:
            head, body = await read_request(reader)
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            writer.close()
            return
        exchange = Exchange(self.name, head, body)
        self.realm.log.append(exchange)
        told = f"[{head.show()}] {body.decode('utf-8', 'backslashreplace')}"
        transcript.add("<", f"{self.name} {head.method} {head.target}", told)
        status, headers, answer = self.answer(exchange) or (404, {}, b"")
        exchange.status = status
        transcript.add(">", self.name, f"{status} {headers or ''} {answer.decode()}")
        write_answer(writer, status, answer, headers)

    def metadata(self) -> dict[str, Any]:
        """Return its metadata."""
        made: dict[str, Any] = {
            "issuer": self.issuer,
            "authorization_endpoint": self.url("authorize"),
            "token_endpoint": self.url("token"),
            "registration_endpoint": self.url("register"),
            "response_types_supported": ["code"],
            "grant_types_supported": sorted(self.grants),
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": [self.method],
            "authorization_response_iss_parameter_supported": True,
        }
        if self.binds:
            made["dpop_signing_alg_values_supported"] = ["ES256"]
        return {name: value for name, value in {**made, **self.metadata_more}.items() if value is not ...}

    def answer(self, exchange: Exchange) -> Answered | None:
        """Answer a request; `None` if there is nothing at its path."""
        path = exchange.path
        if path.startswith((OAUTH, OPENID)) or path.endswith(OPENID):
            exchange.kind = "metadata"
            return (200, {}, _json(self.metadata())) if path in self.metadata_paths else (404, {}, b"")
        endpoints = {"authorize": self._authorize, "token": self._token, "register": self._register}
        name = path.removeprefix(f"{self.prefix}/")
        if name not in endpoints or not path.startswith(self.prefix):
            return None
        exchange.kind = name
        try:
            return endpoints[name](exchange)
        except Refused as error:
            exchange.problem = str(error)
            told = {"error": error.error, "error_description": str(error)}
            headers = {"DPoP-Nonce": self.nonce} if self.nonce is not None else {}
            return error.status, headers, _json(told)

    def _register(self, exchange: Exchange) -> Answered:
        given = exchange.json
        uris = given.get("redirect_uris")
        if "registration_endpoint" not in self.metadata():
            raise Refused("invalid_request", "there is no registration here", 404)
        if not isinstance(uris, list) or not uris or not all(isinstance(each, str) for each in uris):
            raise Refused("invalid_redirect_uri", f"redirect_uris is {uris!r}")
        client_id = f"{self.name}-client-{len(self.clients) + 1}-{secrets.token_hex(4)}"
        secret = None
        if self.method != "none":
            secret = self.realm.redact.hide(secrets.token_urlsafe(18), "client secret")
        self.clients[client_id] = Client(client_id, secret, self.method, tuple(uris))
        exchange.facts["client_id"] = client_id
        told = {**given, "client_id": client_id, "token_endpoint_auth_method": self.method}
        told |= {"client_secret": secret, "client_secret_expires_at": 0} if secret is not None else {}
        return 201, {}, _json(told)

    def _find(self, client_id: str | None) -> Client:
        known = self.clients.get(client_id or "")
        if known is None and self.metadata().get("client_id_metadata_document_supported") and "://" in str(client_id):
            known = Client(str(client_id))
        if known is None:
            raise Refused("invalid_client", f"an unknown client {client_id!r}", 401)
        return known

    def _authorize(self, exchange: Exchange) -> Answered:
        asked = exchange.query
        client = self._find(asked.get("client_id"))
        exchange.facts["client_id"] = client.client_id
        where = asked.get("redirect_uri", "")
        if not where or (client.redirect_uris and where not in client.redirect_uris):
            raise Refused("invalid_request", f"the redirect URI {where!r} is not among those registered")
        if asked.get("response_type") != "code":
            raise Refused("unsupported_response_type", f"response_type is {asked.get('response_type')!r}")
        if self.error:
            told = dict(self.error)
        else:
            code = self.realm.redact.hide(f"code-{secrets.token_urlsafe(12)}", "authorization code")
            self._codes[code] = asked
            told = {"code": code}
        if "state" in asked:
            told["state"] = self.state(asked["state"])
        iss = self.issuer if self.iss is ... else self.iss
        if iss is not None:
            told["iss"] = iss
        return 302, {"Location": f"{where}{'&' if '?' in where else '?'}{urlencode(told)}"}, b""

    def _prove(self, exchange: Exchange) -> Client | None:
        """Return who asks for a token; `None` where nobody says so."""
        given, header = exchange.form, exchange.head.get("authorization") or ""
        if header.lower().startswith("basic "):
            exchange.facts["method"] = "client_secret_basic"
            try:
                pair = base64.b64decode(header[6:], validate=True).decode()
            except ValueError as error:
                raise Refused("invalid_client", "the Basic credentials cannot be read", 401) from error
            client_id, _, secret = (unquote(each) for each in pair.partition(":"))
        elif "client_assertion" in given:
            exchange.facts["method"] = "private_key_jwt"
            return self._asserted(given)
        else:
            exchange.facts["method"] = "client_secret_post" if "client_secret" in given else "none"
            client_id, secret = given.get("client_id", ""), given.get("client_secret", "")
            if not client_id:
                return None
        exchange.facts["client_id"] = client_id
        client = self._find(client_id)
        if exchange.facts["method"] != client.method:
            problem = f"the client proves itself by {exchange.facts['method']}, its method is {client.method}"
            raise Refused("invalid_client", problem, 401)
        if client.secret is not None and not secrets.compare_digest(secret.encode(), client.secret.encode()):
            raise Refused("invalid_client", "the client secret is another", 401)
        return client

    def _asserted(self, given: dict[str, str]) -> Client:
        if given.get("client_assertion_type") != ASSERTION:
            raise Refused("invalid_client", f"client_assertion_type is {given.get('client_assertion_type')!r}", 401)
        client = next((each for each in self.clients.values() if each.key is not None), None)
        if client is None or client.key is None:
            raise Refused("invalid_client", "no client signs assertions here", 401)
        audiences = (self.issuer, f"{self.issuer}/", self.url("token"))
        try:
            check_assertion(given["client_assertion"], client.key, client.client_id, audiences)
        except Forged as error:
            raise Refused("invalid_client", f"the client assertion: {error}", 401) from error
        return client

    def _token(self, exchange: Exchange) -> Answered:
        given = exchange.form
        grant = given.get("grant_type", "")
        if grant not in self.grants:
            raise Refused("unsupported_grant_type", f"the grant {grant!r} is not offered")
        client = self._prove(exchange)
        thumbprint = self._proof(exchange) if self.binds else None
        if client is None and grant != JWT_BEARER:
            raise Refused("invalid_client", "nobody says who asks", 401)
        client_id = client.client_id if client is not None else "a workload"
        if grant == EXCHANGE:
            return 200, {"Cache-Control": "no-store"}, _json(self._exchange(given))
        makers = {
            "authorization_code": self._by_code,
            "refresh_token": self._by_refresh,
            JWT_BEARER: self._by_assertion,
        }
        scopes = makers[grant](client_id, given) if grant in makers else exchange.scopes
        scopes -= self.withheld
        token = self.realm.issue(self.issuer, client_id, scopes, self.lifetime, thumbprint)
        exchange.facts["token"] = token
        told: dict[str, Any] = {
            "access_token": token.value,
            "token_type": "DPoP" if self.binds else "Bearer",
            "expires_in": max(1, int(self.lifetime)),
        }
        if scopes:
            told["scope"] = " ".join(sorted(scopes))
        if self.refreshes:
            refresh = self.realm.redact.hide(f"rt-{secrets.token_urlsafe(18)}", "refresh token")
            self.refresh_tokens[refresh] = client_id, scopes
            told["refresh_token"] = refresh
        return 200, {"Cache-Control": "no-store"}, _json(told)

    def _by_code(self, client_id: str, given: dict[str, str]) -> set[str]:
        asked = self._codes.pop(given.get("code", ""), None)
        if asked is None:
            raise Refused("invalid_grant", "an unknown code, or one that was used before")
        if asked["client_id"] != client_id or asked.get("redirect_uri") != given.get("redirect_uri"):
            raise Refused("invalid_grant", "the code is another client's, or was sent elsewhere")
        challenge, verifier = asked.get("code_challenge"), given.get("code_verifier", "")
        if challenge is not None and asked.get("code_challenge_method") == "S256":
            digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
            if digest != challenge:
                raise Refused("invalid_grant", "the code verifier does not match the challenge")
        return set(asked.get("scope", "").split())

    def _by_refresh(self, client_id: str, given: dict[str, str]) -> set[str]:
        value = given.get("refresh_token", "")
        owner, scopes = self.refresh_tokens.get(value, ("", set()))
        if owner != client_id:
            raise Refused("invalid_grant", "an unknown refresh token, or one that was used before")
        self.refresh_tokens[value] = "", set()
        return scopes

    def _by_assertion(self, client_id: str, given: dict[str, str]) -> set[str]:
        claims = self.assertions.get(given.get("assertion", ""))
        if claims is None:
            raise Refused("invalid_grant", "the assertion is not accepted")
        wanted = claims.get("client_id")
        if wanted is not None and wanted != client_id:
            raise Refused("invalid_grant", "the assertion was made for another client")
        return set(given.get("scope", claims.get("scope", "")).split())

    def _exchange(self, given: dict[str, str]) -> dict[str, Any]:
        """Exchange a subject token for one that another authorization server accepts."""
        if given.get("subject_token") not in self.subjects or given.get("subject_token_type") != ID_TOKEN:
            raise Refused("invalid_grant", "the subject token is not accepted")
        if given.get("requested_token_type") != ID_JAG:
            raise Refused("invalid_request", f"requested_token_type is {given.get('requested_token_type')!r}")
        receiver = next((each for each in self.realm.trusted if each.issuer == given.get("audience")), None)
        if receiver is None:
            raise Refused("invalid_target", f"audience is {given.get('audience')!r}")
        assert self.key is not None
        owner = next(iter(receiver.clients), "")
        claims = {"iss": self.issuer, "sub": "user", "aud": receiver.issuer, "client_id": owner}
        claims |= {name: given[name] for name in ("resource", "scope") if name in given}
        signed = self.realm.redact.hide(self.key.sign(claims, typ="oauth-id-jag+jwt"), "identity assertion")
        receiver.assertions[signed] = claims
        return {"access_token": signed, "issued_token_type": ID_JAG, "token_type": "N_A", "expires_in": 300}

    def _proof(self, exchange: Exchange) -> str:
        proof = exchange.head.get("dpop")
        if proof is None:
            raise Refused("invalid_dpop_proof", "no DPoP proof")
        try:
            thumbprint, _ = check_dpop(proof, "POST", self.url("token"), nonce=self.nonce, token=None)
        except Forged as error:
            is_nonce = str(error) == "use_dpop_nonce"
            raise Refused("use_dpop_nonce" if is_nonce else "invalid_dpop_proof", str(error)) from error
        return thumbprint


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
