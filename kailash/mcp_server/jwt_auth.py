"""Authentication by JSON Web Tokens: with a secret, with a public key, or with the keys that an issuer publishes.

What a token must be is decided in `kailash.auth.jwt`; here are the clock, and the one fetch at a time of an issuer's
keys.
"""

import logging
import time
import warnings
from collections.abc import Awaitable, Callable, Iterable, Mapping
from math import isfinite
from typing import Any

import anyio
from anyio.lowlevel import current_token

from ..adapters.fetch import Fetched, FetchError, FetchRules, fetch
from ..adapters.owner import spawn_owner
from ..auth.entries import read_permissions
from ..auth.headers import HeaderAuth
from ..auth.jwks import MAX_KEY_SET, KeyCache, KeyCacheRule
from ..auth.jwt import (
    ALGORITHMS,
    SHORTEST_SECRET,
    ClaimRule,
    Key,
    ParsedToken,
    check_claims,
    check_signature,
    import_pem,
    import_secret,
    parse_token,
    sign,
)
from ..auth.refusal import Credentials, Found, refuse
from ..errors import TransportError
from .providers import Clock

__all__ = ["JWTAuth", "WeakSecretWarning"]

logger = logging.getLogger("kailash.mcp_server.jwt_auth")

_USER_CLAIMS = ("sub", "user", "user_id", "client_id")
_PERMISSION_CLAIMS = ("permissions", "scope", "scp")
_PUBLISHED = ("RS256", "PS256", "ES256", "EdDSA")
_ACCEPT = ((b"accept", b"application/jwk-set+json, application/json"),)

Fetch = Callable[[str], Awaitable[Fetched]]


class WeakSecretWarning(UserWarning):
    """A secret is so short that who has one token can find it by trying."""


class JWTAuth:
    """JSON Web Tokens of one issuer.

    Give one of `secret`, `public_key` (or `private_key`, which can sign as well) and `jwks_url`. The algorithms are
    pinned here; whatever else a token names is refused. `create_token` makes tokens where there is a key to sign with.

    Args:
        secret: for HMAC; at least 32 bytes, such as `secrets.token_urlsafe(32)`.
        public_key: PEM text, a certificate or a JWK.
        private_key: PEM text or a JWK.
        jwks_url: where the issuer publishes its keys; https. `issuer` and `audience` are then required. Keys are
            fetched again after ten minutes, and when a token names an unknown one, at most every 30 seconds; while the
            issuer cannot be reached those held are good for another hour.
        algorithm: the one that is used; default HS256 for a secret, and what the key is for otherwise.
        algorithms: those that are taken, if there are several.
        issuer: whose tokens are taken: what `iss` must be.
        audience: who we are: what must be in `aud`. Without it tokens that are meant for anybody are refused.
        token_expiry: seconds a created token lives, unless its payload has `exp`; also spelled `expiration`.
        leeway: seconds by which clocks may differ.
        strict: a short secret is an error, not a warning.
        permissions_claim: the claim that lists permissions, or a path to it as a tuple; default the first there is of
            `permissions`, `scope` and `scp`. A string is taken for a list with spaces between.
        user_claim: the claim that names the user; default the first there is of `sub`, `user`, `user_id`, `client_id`.
        token_type: the only `typ` a header may have, such as `at+jwt`.
        claims: what the tokens say that a client sends; see `get_headers`.
        key_id: the `kid` of tokens made here.
        jwks_allow_loopback, jwks_allow_private: let `jwks_url` be on this machine, by plain http, or in a private
            network.
        fetch: gets `jwks_url`; default: ours, which goes to public addresses only.
        clock: tells the time in seconds since the epoch.
        timer: a clock that never jumps, for the age of keys.

    Raises:
        TypeError: an option of the wrong type, or too many keys.
        ValueError: options that do not fit together, or a key that cannot be used.
        ImportError: the extra `auth` is not installed.
    """

    auth_type = "jwt"
    challenge = 'Bearer realm="mcp"'

    def __init__(
        self,
        secret: str | bytes | None = None,
        *,
        public_key: str | bytes | Mapping[str, Any] | None = None,
        private_key: str | bytes | Mapping[str, Any] | None = None,
        jwks_url: str | None = None,
        algorithm: str | None = None,
        algorithms: Iterable[str] | None = None,
        issuer: str | Iterable[str] | None = None,
        audience: str | Iterable[str] | None = None,
        token_expiry: float | None = None,
        expiration: float | None = None,
        leeway: float = 60.0,
        strict: bool = False,
        permissions_claim: str | tuple[str, ...] | None = None,
        user_claim: str | None = None,
        token_type: str | None = None,
        claims: Mapping[str, Any] | None = None,
        key_id: str | None = None,
        jwks_allow_loopback: bool = False,
        jwks_allow_private: bool = False,
        fetch: Fetch | None = None,
        clock: Clock = time.time,
        timer: Clock = time.monotonic,
    ) -> None:
        asymmetric = [key for key in (public_key, private_key) if key is not None]
        if sum((secret is not None, bool(asymmetric), jwks_url is not None)) != 1:
            raise TypeError("JWTAuth takes one of secret, public_key (with or without private_key) and jwks_url")
        self._clock, self._timer = clock, timer
        self._rule = ClaimRule(
            issuers=_names("issuer", issuer),
            audiences=_names("audience", audience),
            leeway=_seconds("leeway", leeway, least=0.0),
            token_type=token_type,
        )
        if token_expiry is not None and expiration is not None:
            raise TypeError("token_expiry and expiration are two names of one option")
        lifetime = token_expiry if token_expiry is not None else expiration
        self._lifetime = _seconds("token_expiry", 3600.0 if lifetime is None else lifetime, least=1.0)
        self._permissions_claim = (permissions_claim,) if isinstance(permissions_claim, str) else permissions_claim
        self._user_claims = _USER_CLAIMS if user_claim is None else (user_claim,)
        self._claims = None if claims is None else dict(claims)
        self._sent: tuple[HeaderAuth, float] | None = None
        self._keys: tuple[Key, ...] = ()
        self._signer: Key | None = None
        self._remote: KeyCache | None = None
        self._flight: _Flight | None = None
        if secret is not None:
            self._signer = import_secret(secret, kid=key_id)
            self._keys = (self._signer,)
            _judge_secret(secret, is_strict=strict)
        elif jwks_url is not None:
            self._remote = self._read_remote(jwks_url, allow_loopback=jwks_allow_loopback)
            rules = FetchRules(
                allow_loopback=jwks_allow_loopback, allow_private=jwks_allow_private, body_bytes=MAX_KEY_SET
            )
            self._fetch = fetch or _fetch_with(rules)
        else:
            self._read_pair(public_key, private_key, key_id)
        self._algorithms = self._pin(algorithm, algorithms)
        self.algorithm = self._algorithms[0]
        """What tokens are signed with here."""

    def __repr__(self) -> str:
        where = "" if self._remote is None else f", {self._remote!r}"
        return f"JWTAuth({', '.join(self._algorithms)}{where})"

    # Configuration

    def _read_pair(self, public: Any, private: Any, key_id: str | None) -> None:
        if private is not None:
            self._signer = import_pem(private, kid=key_id, name="private_key")
            if not self._signer.is_private:
                raise ValueError("private_key is a public key")
            self._keys = (self._signer,)
        if public is not None:
            key = import_pem(public, kid=key_id)
            if key.is_private:
                raise ValueError("public_key is a private key: give it as private_key=, and to nobody else")
            self._keys = (key,)

    def _read_remote(self, url: str, *, allow_loopback: bool) -> KeyCache:
        if not isinstance(url, str) or not url.startswith(("https://", "http://") if allow_loopback else "https://"):
            raise ValueError("jwks_url starts with https:// (http:// with jwks_allow_loopback=True, on this machine)")
        if not self._rule.issuers or not self._rule.audiences:
            # An issuer signs for many: its signature alone says neither who it is for nor, with shared keys, whose.
            raise ValueError("with jwks_url, issuer= and audience= say whose tokens for whom are taken")
        return KeyCache(url, KeyCacheRule())

    def _pin(self, algorithm: str | None, algorithms: Iterable[str] | None) -> tuple[str, ...]:
        if isinstance(algorithms, str):
            raise TypeError("algorithms is a list; one alone is algorithm=")
        named = [*([] if algorithm is None else [algorithm]), *(algorithms or ())]
        for name in named:
            if name not in ALGORITHMS:
                raise ValueError(f"algorithm {name!r} is not known; known: {', '.join(ALGORITHMS)}")
        if self._remote is not None:
            if any(ALGORITHMS[name].key_type == "oct" for name in named):
                raise ValueError("published keys are public: HMAC cannot be used with them")
            return tuple(dict.fromkeys(named)) or _PUBLISHED
        fitting = [name for name in ALGORITHMS if all(name in key.algorithms for key in self._keys)]
        for name in named:
            if name not in fitting:
                raise ValueError(f"algorithm {name} does not fit this key; it takes {', '.join(fitting)}")
        return tuple(dict.fromkeys(named)) or (fitting[0],)

    # Authentication

    def authenticate(self, credentials: Credentials) -> Any:
        """Return the identity that a `token` proves; with `jwks_url` it is an awaitable while keys must be fetched.

        Raises:
            AuthenticationError: the token is absent, not valid, or expired; a note on the error says which.
            TransportError: the issuer's keys cannot be had.
        """
        token = parse_token(credentials.get("token"), self._algorithms)
        expires = check_claims(token, self._rule, self._clock())
        remote = self._remote
        if remote is None:
            check_signature(token, self._keys)
            return self._identify(token, expires)
        now = self._timer()
        keys = remote.find(token, now)
        if (self._flight is not None and not keys) or remote.wants(token, now):
            return self._fetch_first(token, expires)
        return self._conclude(token, expires, keys)

    def _conclude(self, token: ParsedToken, expires: float, keys: list[Key]) -> Found:
        if not keys and self._remote is not None and not self._remote.has_keys(self._timer()):
            raise TransportError("the issuer's keys are not available", retryable=True, retry_after=30.0)
        check_signature(token, keys)
        return self._identify(token, expires)

    async def _fetch_first(self, token: ParsedToken, expires: float) -> Found:
        remote = self._remote
        assert remote is not None
        flight = self._board(token, remote)
        keys = remote.find(token, self._timer())
        if flight is not None and not keys:
            await flight.landed.wait()
            keys = remote.find(token, self._timer())
        return self._conclude(token, expires, keys)

    def _board(self, token: ParsedToken, remote: KeyCache) -> "_Flight | None":
        """Join the fetch that is under way, or start one if it is wanted."""
        flight = self._flight
        if flight is not None and flight.loop == current_token():
            return flight
        now = self._timer()
        if not remote.wants(token, now):
            return None
        remote.begin(token, now)
        flight = self._flight = _Flight()
        # Nobody's in particular: who started it may be gone before it lands, and others wait.
        spawn_owner(self._fly, flight, remote, name="kailash key set")
        return flight

    async def _fly(self, flight: "_Flight", remote: KeyCache) -> None:
        has_come = False
        try:
            why = await self._fetch_keys(remote)
            has_come = True
            if why is not None:
                logger.warning("! no keys from the issuer: %s", why)
        finally:
            if not has_come:
                remote.abandon()
            if self._flight is flight:
                self._flight = None
            flight.landed.set()

    async def _fetch_keys(self, remote: KeyCache) -> str | None:
        """Fetch a key set; returns why there is none."""
        try:
            fetched = await self._fetch(remote.url)
        except (FetchError, TransportError) as error:
            return str(error)
        if fetched.status != 200:
            return f"it answers {fetched.status}"
        try:
            remote.receive(fetched.body, self._timer())
        except ValueError as error:
            return str(error)
        return None

    def _identify(self, token: ParsedToken, expires: float) -> Found:
        claims = token.claims
        user = next((claims[name] for name in self._user_claims if claims.get(name)), None)
        if not isinstance(user, str):
            raise refuse("the token is not valid", f"it names nobody: {' or '.join(self._user_claims)}")
        return {
            "user_id": user,
            "auth_type": self.auth_type,
            "permissions": self._permissions(claims),
            "metadata": dict(claims),
            "expires": expires,
        }

    def _permissions(self, claims: Mapping[str, Any]) -> list[str]:
        given: Any = claims
        if self._permissions_claim is None:
            given = next((claims[name] for name in _PERMISSION_CLAIMS if name in claims), None)
        else:
            for name in self._permissions_claim:
                given = given.get(name) if isinstance(given, Mapping) else None
        if given is None:
            return []
        listed = given.split() if isinstance(given, str) else given
        if not isinstance(listed, list) or not all(isinstance(permission, str) for permission in listed):
            raise refuse("the token is not valid", "its permissions are no list of texts")
        return list(dict.fromkeys(listed))

    # Making tokens

    def create_token(self, payload: Mapping[str, Any]) -> str:
        """Return a token that says this, signed, and good for `token_expiry` seconds unless it says otherwise.

        Args:
            payload: claims; `user` is the subject, `permissions` a list, `exp` seconds since the epoch.

        Raises:
            TypeError: the payload is no mapping, or a claim of the wrong type.
            ValueError: there is no key to sign with, or the claims are no JSON.
        """
        if self._signer is None:
            raise ValueError("only who has a secret or a private_key can make tokens")
        if not isinstance(payload, Mapping):
            raise TypeError(f"a payload is a mapping of claims, not {type(payload).__name__}")
        now = self._clock()
        claims: dict[str, Any] = {"iat": int(now), **payload}
        if "permissions" in claims:
            claims["permissions"] = list(read_permissions(claims["permissions"], "payload"))
        for name in ("exp", "nbf", "iat"):
            if name in claims:
                claims[name] = _seconds(name, claims[name], least=0.0)
        claims.setdefault("exp", int(now + self._lifetime))
        if isinstance(claims.get("user"), str):
            claims.setdefault("sub", claims["user"])
        if self._rule.issuers:
            claims.setdefault("iss", self._rule.issuers[0])
        if self._rule.audiences:
            claims.setdefault("aud", self._rule.audiences[0])
        return sign(claims, self._signer, self.algorithm, token_type=self._rule.token_type or "JWT")

    def get_headers(self) -> dict[str, str]:
        """Return the headers with which a client sends a token that says what `claims` do; a new one in good time.

        Raises:
            ValueError: there are no `claims`, or there is no key to sign with.
        """
        if self._claims is None:
            raise ValueError("say with claims= what the token shall say, or send one with BearerTokenAuth(token)")
        now = self._clock()
        if self._sent is None or now >= self._sent[1]:
            self._sent = HeaderAuth.bearer(self.create_token(self._claims)), now + self._lifetime / 2
        return self._sent[0].get_headers()


class _Flight:
    """A fetch that is under way."""

    __slots__ = ("landed", "loop")

    def __init__(self) -> None:
        self.loop = current_token()
        self.landed = anyio.Event()


def _fetch_with(rules: FetchRules) -> Fetch:
    async def get(url: str) -> Fetched:
        return await fetch(url, headers=_ACCEPT, rules=rules)

    return get


def _judge_secret(secret: str | bytes, *, is_strict: bool) -> None:
    size = len(secret.encode() if isinstance(secret, str) else secret)
    if size >= SHORTEST_SECRET:
        return
    text = (
        f"the secret has {size} bytes: whoever has one token can find it by trying. Use at least {SHORTEST_SECRET},"
        " such as python -c 'import secrets; print(secrets.token_urlsafe(32))' prints"
    )
    if is_strict:
        raise ValueError(text)
    warnings.warn(text, WeakSecretWarning, stacklevel=3)


def _names(option: str, given: str | Iterable[str] | None) -> tuple[str, ...]:
    if not isinstance(given, str | Iterable | None):
        raise TypeError(f"{option} is a string or a list of strings, not {type(given).__name__}")
    names = () if given is None else (given,) if isinstance(given, str) else tuple(given)
    if not all(isinstance(name, str) and name for name in names):
        raise TypeError(f"{option} is a string or a list of strings, none of them empty")
    return names


def _seconds(option: str, given: Any, *, least: float) -> Any:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise TypeError(f"{option} is a number of seconds, not {type(given).__name__}")
    if not isfinite(given) or given < least:
        raise ValueError(f"{option} is at least {least:g} seconds, not {given!r}")
    return given
