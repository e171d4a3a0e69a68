"""A client that authorizes itself as the specification has it, to judge the judge; `--mutate NAME` breaks one rule.

    python auth_client.py [--mutate NAME] URL

Scenario, revision and context come from the environment, as the official suite has it. It is written to be read: one
request after the other, nothing stored, and a browser that only reads where it is sent.
"""

import base64
import hashlib
import json
import os
import re
import secrets
import sys
import time
import uuid
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

REVISION = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION", "2026-07-28")
LETTER = dict(zip(("2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"), "BCDE", strict=True))[REVISION]
SCENARIO = os.environ.get("MCP_CONFORMANCE_SCENARIO", "")
CONTEXT: dict[str, Any] = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
META = "io.modelcontextprotocol/"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
DOCUMENT = "https://conformance-test.local/client-metadata.json"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TYPES = "urn:ietf:params:oauth:token-type"
MUTATION = sys.argv[2] if len(sys.argv) > 2 and sys.argv[1] == "--mutate" else ""
KNOWN = sorted(set(re.findall(r'broken\("([^"]+)"\)', Path(__file__).read_text(encoding="utf-8"))))


def broken(name: str) -> bool:
    """Tell whether this is the rule to break."""
    return name == MUTATION


class Refused(Exception):
    """The client goes no further."""


class Answer:
    """An HTTP answer."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> dict[str, Any]:
        try:
            # An answer may come as a stream, whose last event it is.
            events = [line[5:] for line in self.body.splitlines() if line.startswith(b"data:") and line[5:].strip()]
            return dict(json.loads(events[-1] if events else self.body))
        except ValueError:
            return {}


def send(method: str, url: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> Answer:
    """Send one request; what is not of this machine goes through the proxy, if there is one."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    where = parts.netloc
    if parts.hostname not in LOOPBACK:
        where, target = urlsplit(os.environ.get("http_proxy", "http://127.0.0.1:9")).netloc, url
    connection = HTTPConnection(where, timeout=10)
    try:
        connection.request(method, target, body, headers or {})
        found = connection.getresponse()
        is_endless = "event-stream" in (found.getheader("content-type") or "") and method == "GET"
        return Answer(found.status, found.headers, b"" if is_endless else found.read())
    finally:
        connection.close()


def parse_challenges(header: str) -> dict[str, dict[str, str]]:
    """Return the parameters of each challenge, by its scheme."""
    found: dict[str, dict[str, str]] = {}
    scheme = ""
    token = r"[\w!#$%&'*+.^`|~-]+"
    for name, quoted, plain in re.findall(rf'({token})(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({token})))?', header):
        if not quoted and not plain:
            scheme = name.lower()
            found.setdefault(scheme, {})
        else:
            found.setdefault(scheme, {})[name.lower()] = re.sub(r"\\(.)", r"\1", quoted) or plain
    return found


class Authorizer:
    """Gets tokens for one MCP server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        self.issuer = ""
        self.resource = ""
        self.metadata: dict[str, Any] = {}
        self.clients: dict[str, dict[str, Any]] = {}
        self.token: dict[str, Any] = {}
        self.scopes: set[str] = set()
        self.nonces: dict[str, str] = {}
        self._key: Any = None
        self._prm: dict[str, Any] = {}

    # Where to go.

    def discover(self, challenge: dict[str, str]) -> None:
        """Find the authorization server."""
        issuer = self.origin if LETTER == "B" else self._find_issuer(challenge)
        if issuer != self.issuer:
            if not broken("keeps its token"):
                self.token = {}
            self.issuer = issuer
        parts = urlsplit(issuer)
        root, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
        places = [f"{root}/.well-known/oauth-authorization-server{path}"]
        if LETTER in "DE":
            places += [f"{root}/.well-known/openid-configuration{path}"]
            places += [f"{root}{path}/.well-known/openid-configuration"] if path else []
        if broken("OpenID first"):
            places.reverse()
        for place in places:
            answer = send("GET", place, {"MCP-Protocol-Version": REVISION})
            if answer.status == 200:
                self.metadata = answer.json
                self._check_metadata()
                return
        if LETTER != "B":
            raise Refused("the authorization server says nothing of itself")
        usual = {"authorization": "authorize", "token": "token", "registration": "register"}
        self.metadata = {f"{name}_endpoint": f"{self.origin}/{path}" for name, path in usual.items()}

    def _find_issuer(self, challenge: dict[str, str]) -> str:
        path = urlsplit(self.url).path
        well_known = "/.well-known/oauth-protected-resource"
        named = challenge.get("resource_metadata")
        places = [named] if named else []
        if broken("reads quoted text") and (decoy := re.search(r"resource_metadata=([^\s\",]+)", str(challenge))):
            places = [decoy[1]]
        if not places or broken("ignores the challenge"):
            places = [f"{self.origin}{well_known}{path}", f"{self.origin}{well_known}"]
            if broken("root before path"):
                places.reverse()
        for place in places:
            answer = send("GET", place)
            if answer.status == 200:
                self._prm = answer.json
                break
        else:
            raise Refused("the resource says nothing of itself")
        self.resource = self._prm["resource"]
        is_ours = self.url == self.resource or self.url.startswith(self.resource.rstrip("/") + "/")
        if not is_ours and not broken("believes any resource"):
            raise Refused(f"the metadata is that of {self.resource}")
        return str(self._prm["authorization_servers"][0])

    def _check_metadata(self) -> None:
        said = self.metadata.get("issuer", "")
        is_right = said == self.issuer or (broken("forgives a slash") and said.rstrip("/") == self.issuer.rstrip("/"))
        if LETTER == "E" and not is_right and not broken("believes any issuer"):
            raise Refused("the metadata is another issuer's")
        for name, value in self.metadata.items():
            if name.endswith("_endpoint"):
                parts = urlsplit(value)
                is_safe = parts.scheme == "https" or parts.hostname in LOOPBACK
                if not is_safe and not broken("plain endpoints"):
                    raise Refused(f"{name} is not https")
        is_code = "authorization_code" in self.metadata.get("grant_types_supported", ["authorization_code"])
        has_pkce = "S256" in self.metadata.get("code_challenge_methods_supported", [])
        if LETTER in "DE" and is_code and not has_pkce and not broken("PKCE unasked"):
            raise Refused("the authorization server knows no PKCE")

    # Who asks.

    def client(self) -> dict[str, Any]:
        """Return the client id for this authorization server, and how it is proved."""
        key = "any" if broken("keeps its client id") else self.issuer
        if key in self.clients:
            return self.clients[key]
        if "client_secret" in CONTEXT:
            if CONTEXT.get("issuer", self.issuer) != self.issuer and not broken("foreign credentials"):
                raise Refused("the credentials are for another authorization server")
            method = "client_secret_basic"
            made = {"client_id": CONTEXT["client_id"], "client_secret": CONTEXT["client_secret"]}
        elif self.metadata.get("client_id_metadata_document_supported"):
            made, method = {"client_id": DOCUMENT}, "none"
            if broken("client id over http"):
                made["client_id"] = "http://conformance-test.local/client-metadata.json"
        elif "registration_endpoint" in self.metadata:
            made = self._register()
            method = made.get("token_endpoint_auth_method", "client_secret_basic")
        else:
            raise Refused("there is no way to get a client id")
        self.clients[key] = {**made, "method": method}
        return self.clients[key]

    @property
    def redirect(self) -> str:
        return "http://example.com/callback" if broken("redirects anywhere") else "http://localhost:3031/callback"

    def _register(self) -> dict[str, Any]:
        asked: dict[str, Any] = {
            "client_name": "a sound client",
            "redirect_uris": [self.redirect],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "application_type": "native",
        }
        if broken("no application_type"):
            del asked["application_type"]
        if broken("no refresh grant"):
            asked["grant_types"] = ["authorization_code"]
        kind = {"Content-Type": "application/json"}
        answer = send("POST", self.metadata["registration_endpoint"], kind, json.dumps(asked).encode())
        if answer.status not in (200, 201):
            raise Refused("the registration was refused")
        return answer.json

    # Tokens.

    def obtain(self, challenge: dict[str, str], *, steps_up: bool = False) -> None:
        """Get a token, the way this scenario has it."""
        self.discover(challenge)
        grants = self.metadata.get("grant_types_supported", ["authorization_code"])
        if "valid_jwt" in CONTEXT:
            jwt = CONTEXT["expired_jwt" if broken("tries again") else "valid_jwt"]
            if broken("tries again"):
                self._ask({"grant_type": JWT_BEARER, "assertion": jwt}, {"method": "none"}, is_strict=False)
            self._ask({"grant_type": JWT_BEARER, "assertion": jwt}, {"method": "none"})
        elif "idp_id_token" in CONTEXT:
            self._managed()
        elif "client_credentials" in grants:
            self._by_credentials()
        elif "refresh_token" in self.token and not steps_up:
            self._ask({"grant_type": "refresh_token", "refresh_token": self.token["refresh_token"]}, self.client())
        else:
            self._by_code(self._choose(challenge, steps_up=steps_up))

    def _choose(self, challenge: dict[str, str], *, steps_up: bool) -> set[str]:
        supported = self._prm.get("scopes_supported", [])
        asked = set(challenge["scope"].split()) if "scope" in challenge else set(supported)
        if steps_up and not broken("no union"):
            asked |= self.scopes
        if broken("all scopes"):
            asked = set(supported)
        if broken("a scope of its own"):
            asked |= {"everything"}
        if "offline_access" in self.metadata.get("scopes_supported", []) or broken("always offline"):
            asked |= {"offline_access"}
        self.scopes = asked
        return asked

    def _by_code(self, scopes: set[str]) -> None:
        client = self.client()
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": client["client_id"],
            "redirect_uri": self.redirect,
            "state": state,
            "code_challenge": digest,
            "code_challenge_method": "S256",
        }
        if broken("plain PKCE"):
            asked |= {"code_challenge": verifier, "code_challenge_method": "plain"}
        if broken("no PKCE"):
            del asked["code_challenge"], asked["code_challenge_method"]
        if scopes:
            asked["scope"] = " ".join(sorted(scopes))
        if LETTER != "B" and not broken("no resource to authorize"):
            asked["resource"] = self._named()
        answer = send("GET", f"{self.metadata['authorization_endpoint']}?{urlencode(asked)}")
        told = dict(parse_qsl(urlsplit(answer.headers.get("Location", "")).query))
        self._check_redirect(told, state)
        self._ask(
            {
                "grant_type": "authorization_code",
                "code": told["code"],
                "redirect_uri": self.redirect,
                "code_verifier": secrets.token_urlsafe(48) if broken("another verifier") else verifier,
            },
            client,
        )

    def _named(self) -> str:
        if broken("resource with a fragment"):
            return f"{self.resource}#part"
        return f"{self.resource}/" if broken("resource with a slash") else self.resource

    def _check_redirect(self, told: dict[str, str], state: str) -> None:
        iss, is_promised = told.get("iss"), self.metadata.get("authorization_response_iss_parameter_supported")
        if LETTER == "E" and not broken("ignores iss"):
            if iss is None and is_promised and not broken("misses no iss"):
                raise Refused("the redirect says no issuer")
            is_same = iss == self.issuer
            if broken("normalises iss") and iss is not None:
                is_same = iss.lower().rstrip("/") == self.issuer.lower().rstrip("/")
            if iss is not None and not is_same and not (broken("trusts what was not announced") and not is_promised):
                shown = told.get("error_description", "") if broken("shows foreign errors") else ""
                raise Refused(f"the redirect is another issuer's {shown}")
        if told.get("state") != state and not broken("ignores state"):
            raise Refused("the redirect answers another request")
        if "code" not in told:
            if MUTATION == "ignores iss":
                raise Refused(told.get("error_description", "an error"))
            raise Refused("the user was not asked, or said no")

    def _by_credentials(self) -> None:
        form = {"grant_type": "client_credentials"}
        if "private_key_pem" not in CONTEXT:
            self._ask(form, self.client())
            return
        from joserfc import jwt
        from joserfc.jwk import ECKey

        now, name = int(time.time()), CONTEXT["client_id"]
        audience = "https://elsewhere.example.com" if broken("assertion for others") else self.issuer
        claims = {"iss": name, "sub": name, "aud": audience, "iat": now, "exp": now + 60, "jti": uuid.uuid4().hex}
        key = ECKey.import_key(CONTEXT["private_key_pem"])
        form["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        form["client_assertion"] = jwt.encode({"alg": CONTEXT["signing_algorithm"]}, claims, key)
        self._ask(form, {"method": "private_key_jwt"})

    def _managed(self) -> None:
        asked = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "requested_token_type": f"{TYPES}:id-jag",
            "subject_token_type": f"{TYPES}:id_token",
            "subject_token": CONTEXT["idp_id_token"],
            "audience": self.issuer,
            "resource": self.resource,
            "client_id": CONTEXT["idp_client_id"],
        }
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = send("POST", CONTEXT["idp_token_endpoint"], kind, urlencode(asked).encode())
        if answer.status != 200:
            raise Refused("the identity provider says no")
        self._ask({"grant_type": JWT_BEARER, "assertion": answer.json["access_token"]}, self.client())

    def _ask(self, form: dict[str, str], client: dict[str, Any], *, is_strict: bool = True) -> None:
        """Send a token request and keep the token."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if LETTER != "B" and not broken("no resource for the token"):
            form = {**form, "resource": self._named()}
        method = (
            "client_secret_post" if broken("secret in the body") and "client_secret" in client else client["method"]
        )
        if method == "client_secret_basic":
            pair = f"{quote(client['client_id'], safe='')}:{quote(client['client_secret'], safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        elif method != "private_key_jwt" and "client_id" in client:
            form = {**form, "client_id": client["client_id"]}
            if method == "client_secret_post":
                form["client_secret"] = client["client_secret"]
        where = self.metadata["token_endpoint"]
        for _ in range(2):
            proof = {"DPoP": self.prove("POST", where, None)} if self.is_bound else {}
            answer = send("POST", where, {**headers, **proof}, urlencode(form).encode())
            if answer.json.get("error") != "use_dpop_nonce":
                break
            self.nonces[urlsplit(where).netloc] = answer.headers["DPoP-Nonce"]
        if answer.status != 200:
            if is_strict:
                raise Refused(f"no token: {answer.json.get('error')}")
            return
        self.token = {**self.token, **answer.json}

    # Proofs of possession.

    @property
    def is_bound(self) -> bool:
        return "ES256" in self.metadata.get("dpop_signing_alg_values_supported", ())

    def prove(self, method: str, url: str, token: str | None) -> str:
        """Return a fresh proof that the client has its key."""
        from joserfc import jws
        from joserfc.jwk import ECKey

        if self._key is None:
            self._key = ECKey.generate_key("P-256")
        claims: dict[str, Any] = {"jti": uuid.uuid4().hex, "htm": method, "htu": url, "iat": int(time.time())}
        if (nonce := self.nonces.get(urlsplit(url).netloc)) is not None:
            claims["nonce"] = nonce
        if token is not None and not broken("no ath"):
            claims["ath"] = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
        header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": self._key.as_dict(private=False)}
        return jws.serialize_compact(header, json.dumps(claims).encode(), self._key)


class Client:
    """A small MCP client."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.auth = Authorizer(url)
        self.session = ""
        self.count = 0
        self.steps = 0

    def headers(self, message: dict[str, Any]) -> dict[str, str]:
        found = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if LETTER == "E":
            found |= {"MCP-Protocol-Version": REVISION, "Mcp-Method": message["method"]}
            if "name" in message.get("params", {}):
                found["Mcp-Name"] = message["params"]["name"]
        elif self.session:
            found |= {"Mcp-Session-Id": self.session, "MCP-Protocol-Version": REVISION}
        return found

    def post(self, message: dict[str, Any]) -> Answer:
        """Send a message, and authorize where that is asked for."""
        for _ in range(8):
            headers, where = self.headers(message), self.url
            value = self.auth.token.get("access_token")
            if value and not (broken("forgets the token") and message["method"] == "tools/call"):
                scheme = self.auth.token.get("token_type", "Bearer")
                headers["Authorization"] = f"{scheme} {value}"
                if scheme == "DPoP":
                    headers["DPoP"] = self.auth.prove("POST", self.url, value)
            if value and broken("token in the query"):
                where = f"{where}?access_token={value}"
            answer = send("POST", where, headers, json.dumps(message).encode())
            challenges = parse_challenges(answer.headers.get("WWW-Authenticate", ""))
            challenge = challenges.get("bearer") or challenges.get("dpop") or {}
            if answer.status == 401 and challenge.get("error") == "use_dpop_nonce":
                self.auth.nonces[urlsplit(self.url).netloc] = answer.headers["DPoP-Nonce"]
                if value:
                    continue
            if answer.status == 401:
                if MUTATION == "forgets the token" and value:
                    raise Refused("refused without a token")
                self.auth.obtain(challenge)
            elif answer.status == 403 and challenge.get("error") == "insufficient_scope":
                self.steps += 1
                if broken("does not step up") or (self.steps > 2 and not broken("never gives up")):
                    raise Refused("no scope is enough")
                self.auth.obtain(challenge, steps_up=True)
            else:
                return answer
        raise Refused("no token is good enough")

    def request(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        self.count += 1
        given = dict(params or {})
        if LETTER == "E":
            info = {"name": "sound", "version": "1"}
            given["_meta"] = {f"{META}protocolVersion": REVISION, f"{META}clientCapabilities": {},
                              f"{META}clientInfo": info}  # fmt: skip
        answer = self.post({"jsonrpc": "2.0", "id": self.count, "method": method, "params": given})
        self.session = answer.headers.get("Mcp-Session-Id") or self.session
        if answer.status != 200:
            raise Refused(f"{method} was answered with {answer.status}")
        return dict(answer.json["result"])

    def run(self) -> None:
        """Connect, list the tools, and call each."""
        if LETTER == "E":
            self.request("server/discover")
        else:
            info = {"name": "sound", "version": "1"}
            self.request("initialize", {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": info})
            self.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        for tool in self.request("tools/list")["tools"]:
            self.request("tools/call", {"name": tool["name"], "arguments": {}})


if __name__ == "__main__":
    if MUTATION and MUTATION not in KNOWN:
        sys.exit(f"no fault is named {MUTATION!r}; known: {', '.join(KNOWN)}")
    try:
        Client(sys.argv[-1]).run()
    except Refused as reason:
        sys.exit(f"refused: {reason}")
