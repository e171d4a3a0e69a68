"""Keys and tokens for tests, among them such as nobody honest makes."""

from __future__ import annotations

import hmac
import json
import warnings
from base64 import urlsafe_b64encode
from functools import cache
from typing import Any

from joserfc.jwk import ECKey, OKPKey, RSAKey

SECRET = "s3cret-" * 6
NOW = 1_800_000_000.0


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def part(value: Any) -> str:
    return b64(value if isinstance(value, bytes) else json.dumps(value).encode())


def forge(header: Any, claims: Any, secret: bytes = SECRET.encode(), digest: str = "sha256") -> str:
    """Return a token with any header, signed with HMAC."""
    message = f"{part(header)}.{part(claims)}"
    return f"{message}.{b64(hmac.digest(secret, message.encode(), digest))}"


def claims(**more: Any) -> dict[str, Any]:
    """Return what a good token says; `None` leaves a claim out."""
    good = {"sub": "ann", "exp": NOW + 60, "iat": NOW - 1, **more}
    return {name: value for name, value in good.items() if value is not None}


@cache
def private(kind: str) -> Any:
    """Return a private key; the same one each time, for they are slow to make."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "RSA":
            return RSAKey.generate_key(2048)
        if kind == "small":
            return RSAKey.generate_key(1024)
        if kind == "other":
            return RSAKey.generate_key(2048)
        if kind.startswith("P-"):
            return ECKey.generate_key(kind)
        return OKPKey.generate_key(kind)  # type: ignore[arg-type]


def private_pem(kind: str) -> str:
    return str(private(kind).as_pem(private=True).decode())


def public_pem(kind: str) -> str:
    return str(private(kind).as_pem(private=False).decode())


def jwk(kind: str, **more: Any) -> dict[str, Any]:
    """Return a public key as an issuer publishes it."""
    members = {name: private(kind).as_dict(private=False)[name] for name in private(kind).as_dict(private=False)}
    members.pop("kid", None)
    return {**members, **more}


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


KEY_OF = {
    "RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "PS256": "RSA", "PS384": "RSA", "PS512": "RSA",
    "ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519", "Ed25519": "Ed25519", "Ed448": "Ed448",
}  # fmt: skip
"""Which key each algorithm wants."""
