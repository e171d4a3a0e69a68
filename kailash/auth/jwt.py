"""JSON Web Tokens: signing, and verifying with the algorithm pinned by whoever configured it, never by the token.

A token is taken apart here, once and strictly; joserfc does the cryptography. What a header may say about keys is a
name (`kid`) and nothing else. Everything that is refused is refused in one voice; the reason is a note on the error.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, Final, NamedTuple
from warnings import catch_warnings, simplefilter

import msgspec
from msgspec import Struct

from ..errors import AuthenticationError
from .refusal import refuse

__all__ = [
    "ALGORITHMS",
    "MAX_TOKEN",
    "SHORTEST_SECRET",
    "ClaimRule",
    "Key",
    "ParsedToken",
    "check_claims",
    "check_signature",
    "import_jwk",
    "import_pem",
    "import_secret",
    "parse_token",
    "sign",
]

MAX_TOKEN: Final = 8192
"""Characters of a token; a longer one is not looked at."""
SHORTEST_SECRET: Final = 32
"""Bytes of an HMAC secret; a shorter one can be guessed from a single token, at leisure."""
_SMALLEST_RSA, _LARGEST_RSA = 2048, 8192


class Algorithm(NamedTuple):
    """What an algorithm wants of a key."""

    key_type: str
    curve: str | None = None


ALGORITHMS: Final[Mapping[str, Algorithm]] = {
    "HS256": Algorithm("oct"),
    "HS384": Algorithm("oct"),
    "HS512": Algorithm("oct"),
    "RS256": Algorithm("RSA"),
    "RS384": Algorithm("RSA"),
    "RS512": Algorithm("RSA"),
    "PS256": Algorithm("RSA"),
    "PS384": Algorithm("RSA"),
    "PS512": Algorithm("RSA"),
    "ES256": Algorithm("EC", "P-256"),
    "ES384": Algorithm("EC", "P-384"),
    "ES512": Algorithm("EC", "P-521"),
    "EdDSA": Algorithm("OKP"),
    "Ed25519": Algorithm("OKP", "Ed25519"),
    "Ed448": Algorithm("OKP", "Ed448"),
}
"""What may be pinned; `none` is not among them."""

_SIGNING_CURVES = frozenset({"P-256", "P-384", "P-521", "Ed25519", "Ed448"})


def _joserfc() -> Any:
    """Return joserfc's algorithms and keys."""
    try:
        # An optional extra, and the slowest import of this package: cryptography comes with it.
        from joserfc import jwk, jws
    except ImportError:
        raise ImportError("JWTs need joserfc: pip install 'kailash-mcp-engine[auth]' (the extra `auth`)") from None
    return jwk, jws.JWSRegistry.algorithms


# Keys


class Key:
    """A key, with what it may be used for; its repr shows nothing of it.

    Args:
        material: joserfc's key.
        kid: its name.
        algorithm: the only one it is for; `None`: any that fits it.
    """

    __slots__ = ("_material", "_models", "algorithms", "is_private", "kid", "type")

    def __init__(self, material: Any, *, kid: str | None = None, algorithm: str | None = None) -> None:
        self.kid = kid
        self.type: str = material.key_type
        self.is_private = bool(material.is_private)
        curve = getattr(material, "curve_name", None)
        fitting = [
            name
            for name, wanted in ALGORITHMS.items()
            if wanted.key_type == self.type and wanted.curve in (None, curve)
        ]
        self.algorithms = frozenset(fitting if algorithm is None else {algorithm}.intersection(fitting))
        """What it can be used with."""
        self._material = material
        self._models: Mapping[str, Any] = _joserfc()[1]

    def __repr__(self) -> str:
        return f"Key({self.type}, kid={self.kid!r})"

    def verifies(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Tell whether a signature is this key's."""
        if algorithm not in self.algorithms:
            return False
        return bool(self._models[algorithm].verify(message, signature, self._material))

    def sign(self, algorithm: str, message: bytes) -> bytes:
        """Sign."""
        if algorithm not in self.algorithms or not self.is_private:
            raise ValueError(f"this {self.type} key cannot sign with {algorithm}")
        signature: bytes = self._models[algorithm].sign(message, self._material)
        return signature


def import_secret(secret: str | bytes, *, kid: str | None = None) -> Key:
    """Return the key that an HMAC secret is.

    Raises:
        TypeError: it is neither text nor bytes.
        ValueError: it is empty, or the public key of somebody, which everybody has.
    """
    if not isinstance(secret, str | bytes):
        raise TypeError(f"secret is a string or bytes, not {type(secret).__name__}")
    if not secret:
        raise ValueError("secret is empty")
    jwk, _ = _joserfc()
    raw = secret.encode() if isinstance(secret, str) else secret
    try:
        with catch_warnings():
            simplefilter("ignore")  # how long a secret should be is said by whoever takes it
            return Key(jwk.OctKey.import_key(raw), kid=kid)
    except ValueError:
        raise ValueError("secret is a public key, which everybody has: give it as public_key=") from None


def import_pem(data: str | bytes | Mapping[str, Any], *, kid: str | None = None, name: str = "public_key") -> Key:
    """Return the key in a PEM file, a certificate or a JWK.

    Args:
        data: the text itself, not where it is.
        kid: its name; default what a JWK says.
        name: the option it was given as, for messages.

    Raises:
        TypeError: it is none of the three.
        ValueError: it cannot be read, or is too weak.
    """
    if isinstance(data, Mapping):
        key = import_jwk(data)
        if key is None:
            raise ValueError(f"{name} is no JWK of a kind that can be used here")
        key.kid = key.kid if kid is None else kid
        return key
    if not isinstance(data, str | bytes):
        raise TypeError(f"{name} is the text of a PEM file or a JWK, not {type(data).__name__}")
    raw = data.encode() if isinstance(data, str) else data
    jwk, _ = _joserfc()
    for kind in (jwk.RSAKey, jwk.ECKey, jwk.OKPKey):
        material = _import(kind, raw)
        if material is not None:
            why = _weakness(material)
            if why is not None:
                raise ValueError(f"{name}: {why}")
            return Key(material, kid=kid)
    raise ValueError(f"{name} holds no RSA, EC or Ed25519 key in PEM: give the text of the file, not its name")


def import_jwk(given: Any) -> Key | None:
    """Return the key of a JWK, as published; `None` for one that cannot be used to verify signatures.

    Symmetric keys are none of these: who publishes one has no secret. A key for another use, of an unknown kind, too
    weak or too large is passed over, as is one that is broken.
    """
    jwk, _ = _joserfc()
    kinds = {"RSA": jwk.RSAKey, "EC": jwk.ECKey, "OKP": jwk.OKPKey}
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        return None
    members = dict(given)
    kind, kid, algorithm = members.get("kty"), members.get("kid"), members.get("alg")
    operations = members.get("key_ops", ["verify"])
    if not isinstance(kind, str) or kind not in kinds or members.get("use", "sig") != "sig":
        return None
    if not isinstance(operations, list) or not {"verify", "sign"}.intersection(map(str, operations)):
        return None
    if not isinstance(kid, str | None) or not isinstance(algorithm, str | None):
        return None
    # The rest of a JWK, such as its certificates, is nobody's business here.
    wanted = ("kty", "crv", "n", "e", "x", "y", "d", "p", "q", "dp", "dq", "qi")
    material = _import(kinds[kind], {name: members[name] for name in wanted if name in members})
    if material is None or _weakness(material) is not None:
        return None
    key = Key(material, kid=kid, algorithm=algorithm)
    return key if key.algorithms else None


def _import(kind: Any, data: Any) -> Any:
    """Return joserfc's key, or `None`."""
    # Beside `_joserfc`, which has said already what to install.
    from joserfc.errors import JoseError

    try:
        with catch_warnings():
            simplefilter("ignore")  # what it warns of is refused right after
            return kind.import_key(data)
    except (JoseError, ArithmeticError, LookupError, TypeError, ValueError):
        return None


def _weakness(material: Any) -> str | None:
    if material.key_type == "RSA":
        size = material.raw_value.key_size
        if not _SMALLEST_RSA <= size <= _LARGEST_RSA:
            return f"an RSA key of {size} bits; it needs {_SMALLEST_RSA} to {_LARGEST_RSA}"
    elif material.curve_name not in _SIGNING_CURVES:
        return f"a key on the curve {material.curve_name}, which signs nothing here"
    return None


# Tokens


class ParsedToken(Struct, frozen=True, kw_only=True):
    """A token taken apart: nothing of it is to be believed before its signature was checked."""

    algorithm: str
    kid: str | None
    type: str | None
    claims: dict[str, Any]
    message: bytes
    signature: bytes

    def __repr__(self) -> str:
        return f"ParsedToken({self.algorithm})"


_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")
# Names of keys as issuers give them: digests, UUIDs, URLs. They are looked up and compared, never opened.
_KID = re.compile(r"(?!.*\.\.)[A-Za-z0-9._~:/+=@-]{1,256}")
# What brings a key along, wants to be understood by name, or changes what is signed.
# "alg":"none" is not in the list because it is in no list of algorithms.
_FORBIDDEN = ("crit", "jwk", "jku", "x5u", "x5c", "zip", "b64", "enc")
_read_object = msgspec.json.Decoder(dict[str, Any]).decode
_TEXT = "the token is not valid"


def _bad(reason: str) -> AuthenticationError:
    return refuse(_TEXT, reason)


def parse_token(text: Any, algorithms: Iterable[str]) -> ParsedToken:
    """Take a token apart, without any cryptography.

    Args:
        text: what came.
        algorithms: those that are pinned.

    Raises:
        AuthenticationError: it is none, or nothing that its signature could mend.
    """
    if not isinstance(text, str) or not text:
        raise refuse("no token", "none was given")
    if len(text) > MAX_TOKEN:
        raise _bad(f"it is longer than {MAX_TOKEN} characters")
    parts = text.split(".")
    if len(parts) != 3:
        raise _bad("it has not the three parts of a signed JWT")
    header = _object(_segment(parts[0]), "header")
    for name in _FORBIDDEN:
        if name in header:
            raise _bad(f"its header has {name}, which is never taken from a token")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise _bad(f"its algorithm is not one of {', '.join(algorithms)}")
    kid, kind = header.get("kid"), header.get("typ")
    if kid is not None and (not isinstance(kid, str) or not _KID.fullmatch(kid)):
        raise _bad("its kid is no name of a key")
    if kind is not None and not isinstance(kind, str):
        raise _bad("its typ is no text")
    return ParsedToken(
        algorithm=algorithm,
        kid=kid,
        type=kind,
        claims=_object(_segment(parts[1]), "claims"),
        message=f"{parts[0]}.{parts[1]}".encode(),
        signature=_segment(parts[2]),
    )


def _segment(text: str) -> bytes:
    if not _SEGMENT.fullmatch(text) or len(text) % 4 == 1:
        raise _bad("it is not base64url")
    data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    # The last character may have bits that mean nothing: two spellings of one token would both be valid.
    if _encode(data) != text:
        raise _bad("it is not base64url as it is written")
    return data


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        return _read_object(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _bad(f"its {what} are no JSON object") from None


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def check_signature(token: ParsedToken, keys: Iterable[Key]) -> None:
    """Check that one of the keys signed a token.

    Raises:
        AuthenticationError: none did.
    """
    for key in keys:
        if key.verifies(token.algorithm, token.message, token.signature):
            return
    raise _bad("no known key has signed it")


class ClaimRule(Struct, frozen=True, kw_only=True):
    """What the claims of a token must say."""

    issuers: tuple[str, ...] = ()
    """Whose tokens are taken; none: `iss` is not looked at."""
    audiences: tuple[str, ...] = ()
    """Who we are: one of these must be in `aud`; none: a token that is meant for somebody is not for us."""
    leeway: float = 60.0
    """Seconds by which clocks may differ."""
    token_type: str | None = None
    """The only `typ` there may be; default: those of plain JWTs and access tokens."""


_TYPES = frozenset({"jwt", "at+jwt"})


def check_claims(token: ParsedToken, rule: ClaimRule, now: float) -> float:
    """Check what a token says of itself; returns when it expires.

    Raises:
        AuthenticationError: it is not, not yet or no longer for us.
    """
    kind = (token.type or "").lower().removeprefix("application/")
    # A token of another kind by the same issuer, such as a logout token, is no access token — RFC 8725 section 3.11
    if rule.token_type is not None:
        if kind != rule.token_type.lower().removeprefix("application/"):
            raise _bad(f"its typ is not {rule.token_type}")
    elif kind and kind not in _TYPES:
        raise _bad("its typ is not that of an access token")
    claims = token.claims
    expires, begins, issued = (_time(claims, name) for name in ("exp", "nbf", "iat"))
    if expires is None:
        raise _bad("it has no exp")
    if now >= expires + rule.leeway:
        raise _bad("it has expired")
    if begins is not None and now < begins - rule.leeway:
        raise _bad("its nbf lies ahead")
    if issued is not None and now < issued - rule.leeway:
        raise _bad("its iat lies ahead")
    if rule.issuers and claims.get("iss") not in rule.issuers:
        raise _bad("its iss is not the issuer")
    _check_audience(claims.get("aud"), rule.audiences)
    return expires


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e15 < value < 1e15 or not isfinite(value):
        raise _bad(f"its {name} is no time")
    return float(value)


def _check_audience(given: Any, ours: Sequence[str]) -> None:
    audiences = [given] if isinstance(given, str) else given
    if audiences is None:
        if ours:
            raise _bad("it has no aud")
        return
    if not isinstance(audiences, list) or not all(isinstance(audience, str) for audience in audiences):
        raise _bad("its aud is no text and no list of texts")
    # "If the principal processing the claim does not identify itself with a value in the "aud" claim when this claim is
    # present, then the JWT MUST be rejected." — RFC 7519 section 4.1.3
    if not set(ours).intersection(audiences):
        raise _bad("its aud does not name us" if ours else "it is meant for an aud: say with audience= who we are")


def sign(claims: Mapping[str, Any], key: Key, algorithm: str, *, token_type: str = "JWT") -> str:
    """Return a signed token.

    Args:
        claims: what it says.
        key: a private key or a secret.
        algorithm: one that fits the key.
        token_type: the `typ` of its header.

    Raises:
        ValueError: the key cannot sign with that, or the claims are no JSON.
    """
    header: dict[str, Any] = {"alg": algorithm, "typ": token_type}
    if key.kid is not None:
        header["kid"] = key.kid
    try:
        payload = msgspec.json.encode(claims)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"claims that JSON cannot hold: {type(error).__name__}") from None
    message = f"{_encode(msgspec.json.encode(header))}.{_encode(payload)}"
    token = f"{message}.{_encode(key.sign(algorithm, message.encode()))}"
    if len(token) > MAX_TOKEN:
        raise ValueError(f"a token of {len(token)} characters, of which nobody takes more than {MAX_TOKEN}")
    return token
