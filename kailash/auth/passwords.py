"""Passwords as scrypt hashes: making one, reading one, and checking a password in the same time for everybody."""

import hmac
import re
from base64 import b64decode, b64encode
from hashlib import scrypt

from msgspec import Struct

__all__ = ["DEFAULT_COST", "SALT_BYTES", "PasswordHash", "ScryptCost", "hash_password", "read_hash"]

SALT_BYTES = 16
_KEY_BYTES = 32
_HASH = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]{16,128})\$([A-Za-z0-9+/]{22,128})")


class ScryptCost(Struct, frozen=True, kw_only=True):
    """What it costs to check a password, and to guess one."""

    ln: int = 14
    """The binary logarithm of N."""
    r: int = 8
    p: int = 5

    def __post_init__(self) -> None:
        if not 10 <= self.ln <= 18 or not 1 <= self.r <= 16 or not 1 <= self.p <= 16:
            raise ValueError("a scrypt cost has ln from 10 to 18, r and p from 1 to 16")


# OWASP's password storage cheat sheet names N=2^17 p=1 and, as its equal with the least memory, N=2^14 p=5: 16 MiB.
DEFAULT_COST = ScryptCost()


class PasswordHash(Struct, frozen=True, kw_only=True):
    """A password's hash."""

    cost: ScryptCost
    salt: bytes
    key: bytes

    def __repr__(self) -> str:
        return "PasswordHash(…)"

    def matches(self, password: str) -> bool:
        """Tell whether this is the password; takes as long for a right one as for a wrong one."""
        return hmac.compare_digest(_derive(password, self.salt, self.cost, len(self.key)), self.key)


def _derive(password: str, salt: bytes, cost: ScryptCost, length: int) -> bytes:
    n = 1 << cost.ln
    memory = 128 * cost.r * (n + cost.p + 2)
    secret = password.encode("utf-8", "surrogatepass")
    return scrypt(secret, salt=salt, n=n, r=cost.r, p=cost.p, maxmem=memory, dklen=length)


def hash_password(password: str, salt: bytes, cost: ScryptCost = DEFAULT_COST) -> str:
    """Return the hash of a password, as configurations hold it: `$scrypt$ln=14,r=8,p=5$salt$key`.

    Args:
        password: what is hashed.
        salt: random bytes, new for each hash.
        cost: how much work a guess shall be.
    """
    if not isinstance(password, str) or not password:
        raise ValueError("a password is a string that is not empty")
    if len(salt) < SALT_BYTES:
        raise ValueError(f"a salt has at least {SALT_BYTES} bytes")
    key = _derive(password, salt, cost, _KEY_BYTES)
    return f"$scrypt$ln={cost.ln},r={cost.r},p={cost.p}${_encode(salt)}${_encode(key)}"


def read_hash(text: str) -> PasswordHash | None:
    """Read a hash that `hash_password` made; `None` if it is none, and then it may well be a password."""
    found = _HASH.fullmatch(text)
    if found is None:
        return None
    ln, r, p, salt, key = found.groups()
    try:
        cost = ScryptCost(ln=int(ln), r=int(r), p=int(p))
        return PasswordHash(cost=cost, salt=_decode(salt), key=_decode(key))
    except ValueError:
        return None


def _encode(data: bytes) -> str:
    return b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return b64decode(text + "=" * (-len(text) % 4), validate=True)
