"""Signed proofs of the authorization extensions: what a client is given to sign with, and whether what it signed holds.

All of it goes through joserfc, which comes with the extra `auth` and is only imported when a scenario needs it.
"""

import base64
import hashlib
import json
import time
import uuid
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Forged", "KeyPair", "check_assertion", "check_dpop", "is_available", "peek"]

_LEEWAY = 300
"""Seconds by which a proof's clock may be off."""


class Forged(Exception):
    """A proof does not hold, and why."""


def is_available() -> bool:
    """Tell whether signatures can be made and checked here."""
    try:
        import joserfc.jwk  # noqa: F401
    except ImportError:
        return False
    return True


class KeyPair:
    """An elliptic key of the judge's own."""

    def __init__(self) -> None:
        from joserfc.jwk import ECKey

        self._key = ECKey.generate_key("P-256")

    @property
    def pem(self) -> str:
        """The private half, as PKCS#8."""
        return self._key.as_pem(private=True).decode()

    @property
    def key(self) -> Any:
        """The key, to check signatures with."""
        return self._key

    def sign(self, claims: dict[str, Any], *, typ: str = "JWT", lifetime: int = 300) -> str:
        """Return a signed token; issue, expiry and identity are filled in."""
        from joserfc import jwt

        now = int(time.time())
        whole = {"iat": now, "exp": now + lifetime, "jti": uuid.uuid4().hex, **claims}
        return jwt.encode({"alg": "ES256", "typ": typ}, whole, self._key)


def peek(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the header and the claims of a signed token, unchecked.

    Raises:
        Forged: it is none.
    """
    try:
        parts = [json.loads(base64.urlsafe_b64decode(each + "=" * (-len(each) % 4))) for each in token.split(".")[:2]]
        header, claims = parts
    except ValueError as error:
        raise Forged("it is no JWT") from error
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise Forged("it is no JWT")
    return header, claims


def _verify(token: str, key: Any) -> None:
    from joserfc import jwt
    from joserfc.errors import JoseError

    try:
        jwt.decode(token, key, algorithms=["ES256"])
    except (JoseError, ValueError) as error:
        raise Forged(f"its signature does not hold: {error}") from error


def check_assertion(token: str, pair: KeyPair, client_id: str, audiences: tuple[str, ...]) -> None:
    """Check what a client signed to prove who it is, as RFC 7523 has it.

    Raises:
        Forged: it does not hold.
    """
    _, claims = peek(token)
    _verify(token, pair.key)
    for name in ("iss", "sub"):
        if claims.get(name) != client_id:
            raise Forged(f"{name} is {claims.get(name)!r}, the client is {client_id!r}")
    named = claims.get("aud")
    if not set(named if isinstance(named, list) else [named]) & set(audiences):
        raise Forged(f"aud is {named!r}, this is {audiences[0]!r}")
    expires = claims.get("exp")
    if not isinstance(expires, (int, float)) or expires < time.time():
        raise Forged(f"exp is {expires!r}")


def check_dpop(proof: str, method: str, url: str, *, nonce: str | None, token: str | None) -> tuple[str, str]:
    """Check a proof of possession, as RFC 9449 section 4.3 has it.

    Args:
        proof: the header's value.
        method: of the request.
        url: of the request; query and fragment do not count.
        nonce: the one that has to be in it, if any.
        token: the access token that comes with it, if any.

    Returns:
        The thumbprint of the key, and the proof's own id.

    Raises:
        Forged: it does not hold.
    """
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey

    header, claims = peek(proof)
    if header.get("typ") != "dpop+jwt":
        raise Forged(f"typ is {header.get('typ')!r}")
    public = header.get("jwk")
    if not isinstance(public, dict) or "d" in public:
        raise Forged("there is no public key in its header")
    try:
        key = ECKey.import_key(public)
    except (JoseError, ValueError) as error:
        raise Forged(f"its key cannot be used: {error}") from error
    _verify(proof, key)
    if claims.get("htm") != method:
        raise Forged(f"htm is {claims.get('htm')!r}, the method {method}")
    if urlsplit(str(claims.get("htu")))[:3] != urlsplit(url)[:3] or "?" in str(claims.get("htu")):
        raise Forged(f"htu is {claims.get('htu')!r}, the address {url}")
    issued = claims.get("iat")
    if not isinstance(issued, (int, float)) or abs(time.time() - issued) > _LEEWAY:
        raise Forged(f"iat is {issued!r}")
    if not isinstance(claims.get("jti"), str):
        raise Forged("it has no jti")
    if token is not None:
        wanted = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
        if claims.get("ath") != wanted:
            raise Forged("ath is not the hash of the access token")
    if nonce is not None and claims.get("nonce") != nonce:
        raise Forged("use_dpop_nonce")
    return key.thumbprint(), claims["jti"]
