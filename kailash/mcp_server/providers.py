"""Authentication by what a server itself knows: API keys, tokens, passwords; and several ways at once.

These are the tables of `kailash.auth` with a clock. `auth` is the public door.
"""

import hmac
import inspect
import secrets
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any, Protocol

import anyio
from anyio import to_thread
from anyio.lowlevel import RunVar

from ..auth.entries import ENTRY_KEYS, Entry, SecretTable, check_options, read_entry
from ..auth.headers import HeaderAuth
from ..auth.passwords import DEFAULT_COST, SALT_BYTES, PasswordHash, ScryptCost, hash_password, read_hash
from ..auth.permissions import PermissionManager
from ..auth.refusal import Credentials, Found, refuse
from ..errors import AuthenticationError

__all__ = [
    "APIKeyAuth",
    "AnyAuth",
    "AuthProvider",
    "BasicAuth",
    "BearerTokenAuth",
    "Clock",
    "RoleAuth",
    "as_provider",
    "ask_provider",
]

Clock = Callable[[], float]
"""Tells the time in seconds since the epoch."""


class AuthProvider(Protocol):
    """Turns credentials into an identity.

    Two attributes are heeded where they are there: `is_blocking`, true if `authenticate` takes so long that it is to be
    called in a thread, and `challenge`, the value of `WWW-Authenticate` in a 401.
    """

    def authenticate(self, credentials: Mapping[str, Any]) -> Any:
        """Return a mapping with `user_id`, `auth_type`, `permissions`, `metadata`, or an awaitable of one.

        Raises:
            AuthenticationError: the credentials are not known.
        """


def as_provider(given: Any) -> Any:
    """Return what a server was given as `auth_provider`: a provider, or several as one.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(given, list | tuple):
        return AnyAuth(*given)
    if given is not None and not callable(getattr(given, "authenticate", None)):
        raise TypeError(
            f"auth_provider has an authenticate(credentials) method, or is a list of such, not {type(given).__name__}"
        )
    return given


class _SecretAuth:
    """What API keys and tokens have in common."""

    auth_type: str
    _field: str
    _what: str
    _prefix: str
    _make: Callable[[str], HeaderAuth]

    def __init__(self, given: Any, *, clock: Clock = time.time) -> None:
        self._table = SecretTable(self._what, prefix=self._prefix)
        held = self._table.fill(given)
        self._clock = clock
        # A client has one, and sends it. Who holds several is a server, and keeps none of them.
        self._sent = self._sender(held[0]) if len(held) == 1 else None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._table!r})"

    def _sender(self, secret: str) -> HeaderAuth | None:
        try:
            return self._make(secret)
        except ValueError:
            return None  # over stdio a key may hold what no header can carry

    def authenticate(self, credentials: Credentials) -> Found:
        """Return the identity of whoever has these credentials.

        Raises:
            AuthenticationError: none were given, or they are not known, no longer or not any more.
        """
        return self._table.find(credentials.get(self._field), self._clock()).found(self.auth_type)

    def add(self, secret: str, **options: Any) -> None:
        """Let somebody in from now on; the options are those of the class.

        Raises:
            TypeError: an unknown option.
            ValueError: it is there already.
        """
        self._sent = None
        self._table.add(secret, options)

    def revoke(self, secret: str) -> bool:
        """Let somebody in no more; tells whether they were let in before."""
        self._sent = None
        return self._table.remove(secret)

    def get_headers(self) -> dict[str, str]:
        """Return the headers with which a client sends its one key or token.

        Raises:
            ValueError: there are several, or what there is cannot be sent.
        """
        if self._sent is None:
            raise ValueError(f"a client sends one {self._what}: make a {type(self).__name__} of that one alone")
        return self._sent.get_headers()


class APIKeyAuth(_SecretAuth):
    """API keys: one, a list of them, or a mapping of each key to its options.

    Options are `permissions` (default `tools`, `resources` and `prompts`), `rate_limit` (`requests`, `window` in
    seconds, `burst_size`), `metadata`, `user_id` and `expires` (seconds since the epoch, or ISO 8601). Only digests are
    kept, except where there is one key alone, which a client sends with `get_headers`. Make keys with
    `secrets.token_urlsafe(32)`.

    Args:
        keys: the keys.
        clock: tells the time in seconds since the epoch.

    Raises:
        TypeError: an unknown option, or a value of the wrong type.
        ValueError: an empty key, or one that is there twice.
    """

    auth_type = "api_key"
    challenge = 'Bearer realm="mcp"'
    _field = "api_key"
    _what = "API key"
    _prefix = "key"
    _make = staticmethod(HeaderAuth.api_key)

    def __init__(
        self, keys: str | Iterable[str] | Mapping[str, Mapping[str, Any]], *, clock: Clock = time.time
    ) -> None:
        super().__init__(keys, clock=clock)


class BearerTokenAuth(_SecretAuth):
    """Tokens that mean nothing in themselves: one, a list of them, or a mapping of each to its options.

    The options are those of `APIKeyAuth`. A client whose token comes from elsewhere, a JWT among them, sends it with
    `BearerTokenAuth(token)`.

    Args:
        tokens: the tokens.
        clock: tells the time in seconds since the epoch.

    Raises:
        TypeError: an unknown option, or a value of the wrong type.
        ValueError: an empty token, or one that is there twice.
    """

    auth_type = "bearer"
    challenge = 'Bearer realm="mcp"'
    _field = "token"
    _what = "token"
    _prefix = "token"
    _make = staticmethod(HeaderAuth.bearer)

    def __init__(
        self, tokens: str | Iterable[str] | Mapping[str, Mapping[str, Any]], *, clock: Clock = time.time
    ) -> None:
        super().__init__(tokens, clock=clock)


_REMEMBERED = 300.0
"""Seconds a password that was right need not be derived again."""
_MOST_REMEMBERED = 1024
_USER_KEYS = ("password_hash", *ENTRY_KEYS)


class BasicAuth:
    """Users and their passwords, as scrypt hashes.

    Checking a password takes a fifth of a second of one core, for an unknown user as for a known one, and blocks:
    servers therefore ask in a thread (`is_blocking`). A password that was right is remembered for five minutes, as a
    keyed digest, because a client sends it with every request.

    Args:
        users: each user's hash, made by `BasicAuth.hash(password)`, or a mapping of `password_hash` and the options of
            `APIKeyAuth`.
        username, password: instead of `users`, what a client sends.
        clock: tells the time in seconds since the epoch.
        entropy: gives random bytes.

    Raises:
        TypeError: an unknown option, or a value of the wrong type.
        ValueError: a password where a hash belongs.
    """

    auth_type = "basic"
    challenge = 'Basic realm="mcp", charset="UTF-8"'
    is_blocking = True

    def __init__(
        self,
        users: Mapping[str, str | Mapping[str, Any]] | None = None,
        *,
        username: str | None = None,
        password: str | None = None,
        clock: Clock = time.time,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._clock = clock
        self._sent: HeaderAuth | None = None
        if username is not None or password is not None:
            if users is not None or username is None or password is None:
                raise TypeError("a server gives users, a client username and password")
            self._sent = HeaderAuth.basic(username, password)
        elif not isinstance(users, Mapping):
            raise TypeError("users is a mapping of each user's name to BasicAuth.hash(password)")
        self._users = {name: _read_user(name, given) for name, given in (users or {}).items()}
        # What a password of nobody's is compared with: it costs what that of a user does.
        cost = max((known.cost for known, _ in self._users.values()), key=_work, default=DEFAULT_COST)
        self._nobody = PasswordHash(cost=cost, salt=bytes(SALT_BYTES), key=bytes(32))
        self._key = entropy(32)
        self._lock = threading.Lock()  # threads ask
        self._remembered: dict[str, tuple[bytes, float]] = {}

    def __repr__(self) -> str:
        return f"BasicAuth({len(self._users)} user{'' if len(self._users) == 1 else 's'})"

    @staticmethod
    def hash(password: str, *, entropy: Callable[[int], bytes] = secrets.token_bytes) -> str:
        """Return the hash of a password, for `users`."""
        return hash_password(password, entropy(SALT_BYTES))

    def authenticate(self, credentials: Credentials) -> Found:
        """Return the identity of a user with this `username` and `password`; this blocks.

        Raises:
            AuthenticationError: none were given, or they are not known or not any more.
        """
        name, password = credentials.get("username"), credentials.get("password")
        if not isinstance(name, str) or not isinstance(password, str):
            raise refuse("no user and password", "none were given")
        now = self._clock()
        known, entry = self._users.get(name, (self._nobody, None))
        mark = hmac.digest(self._key, known.salt + known.key + password.encode("utf-8", "surrogatepass"), sha256)
        if not (self._remembers(name, mark, now) or known.matches(password)) or entry is None:
            raise refuse("unknown user or password", "no such user" if entry is None else "the password is another")
        if entry.is_expired(now):
            raise refuse("unknown user or password", "it has expired")
        self._remember(name, mark, now)
        return entry.found(self.auth_type)

    def _remembers(self, name: str, mark: bytes, now: float) -> bool:
        seen, until = self._remembered.get(name, (bytes(32), 0.0))
        return hmac.compare_digest(seen, mark) and now < until

    def _remember(self, name: str, mark: bytes, now: float) -> None:
        with self._lock:
            if name not in self._remembered or not self._remembers(name, mark, now):
                self._remembered.pop(name, None)
                while len(self._remembered) >= _MOST_REMEMBERED:
                    del self._remembered[next(iter(self._remembered))]
                self._remembered[name] = mark, now + _REMEMBERED

    def get_headers(self) -> dict[str, str]:
        """Return the headers with which a client sends its user and password.

        Raises:
            ValueError: there are only hashes here.
        """
        if self._sent is None:
            raise ValueError("a client has a password, not its hash: BasicAuth(username=..., password=...)")
        return self._sent.get_headers()


def _work(cost: ScryptCost) -> int:
    return (cost.r * cost.p) << cost.ln


def _read_user(name: Any, given: Any) -> tuple[PasswordHash, Entry]:
    if not isinstance(name, str) or not name or ":" in name:
        raise ValueError("the name of a user is a string that is not empty and has no colon in it")
    what = f"user {name!r}"
    options = {"password_hash": given} if isinstance(given, str) else given
    if not isinstance(options, Mapping):
        raise TypeError(f"{what}: give BasicAuth.hash(password), or a mapping of {', '.join(_USER_KEYS)}")
    check_options(options, _USER_KEYS, what)
    text = options.get("password_hash")
    known = read_hash(text) if isinstance(text, str) else None
    if known is None:
        raise ValueError(
            f"{what}: password_hash is no scrypt hash. Passwords are never configured as they are; run this once and"
            ' give what it prints: python -c "from getpass import getpass; from kailash.mcp_server.auth import'
            ' BasicAuth; print(BasicAuth.hash(getpass()))"'
        )
    rest = {key: value for key, value in options.items() if key != "password_hash"}
    return known, read_entry(rest, user_id=name, what=what)


class AnyAuth:
    """Several ways to authenticate, asked in order; whoever one of them knows is in.

    What fails other than by an AuthenticationError lets nobody in, whatever the next would say.

    Args:
        providers: their users are one community: `ann` of one is `ann` of the other.
        named: providers whose users are their own: `ann` of `staff=` is `staff:ann`. Use this for issuers that do not
            know of each other.
    """

    def __init__(self, *providers: Any, **named: Any) -> None:
        self._providers = [("", provider) for provider in providers]
        self._providers += [(f"{name}:", provider) for name, provider in named.items()]
        if not self._providers:
            raise TypeError("give at least one provider")
        for _, provider in self._providers:
            if not callable(getattr(provider, "authenticate", None)):
                raise TypeError(f"{type(provider).__name__} has no authenticate(credentials)")

    def __repr__(self) -> str:
        return f"AnyAuth({', '.join(f'{name}{provider!r}' for name, provider in self._providers)})"

    @property
    def challenge(self) -> str:
        """What a 401 asks for: each way once."""
        ways = [getattr(provider, "challenge", 'Bearer realm="mcp"') for _, provider in self._providers]
        return ", ".join(dict.fromkeys(ways))

    def authenticate(self, credentials: Credentials) -> Any:
        """Return the identity that the first provider found who knows the caller, or an awaitable of it.

        Raises:
            AuthenticationError: none does.
        """
        return self._ask(0, credentials)

    def _ask(self, start: int, credentials: Credentials) -> Any:
        for place in range(start, len(self._providers)):
            name, provider = self._providers[place]
            try:
                found = ask_provider(provider, credentials)
            except AuthenticationError:
                continue
            return self._wait(place, found, credentials) if inspect.isawaitable(found) else _qualify(name, found)
        raise refuse("unknown credentials", "no provider knows them")

    async def _wait(self, place: int, asked: Awaitable[Any], credentials: Credentials) -> Any:
        try:
            return _qualify(self._providers[place][0], await asked)
        except AuthenticationError:
            found = self._ask(place + 1, credentials)
            return await found if inspect.isawaitable(found) else found

    def get_headers(self) -> dict[str, str]:
        """Return the headers of the first provider: a client has one way."""
        headers: dict[str, str] = self._providers[0][1].get_headers()
        return headers


def _qualify(name: str, found: Any) -> Any:
    return {**found, "user_id": f"{name}{found['user_id']}"} if name else found


class RoleAuth:
    """A provider whose users' roles are taken for the permissions they stand for.

    Args:
        provider: who finds the users.
        roles: a `PermissionManager`, or what it is made of.
    """

    def __init__(self, provider: Any, roles: PermissionManager | Mapping[str, Any]) -> None:
        self._provider = as_provider(provider)
        self._roles = roles if isinstance(roles, PermissionManager) else PermissionManager(roles)
        self.challenge = getattr(self._provider, "challenge", 'Bearer realm="mcp"')
        self.is_blocking = bool(getattr(self._provider, "is_blocking", False))

    def __repr__(self) -> str:
        return f"RoleAuth({self._provider!r}, {self._roles!r})"

    def authenticate(self, credentials: Credentials) -> Any:
        """Return the identity with all its permissions, or an awaitable of it.

        Raises:
            AuthenticationError: the provider does not know the caller.
        """
        found = self._provider.authenticate(credentials)
        return self._wait(found) if inspect.isawaitable(found) else self._expand(found)

    async def _wait(self, asked: Awaitable[Any]) -> Any:
        return self._expand(await asked)

    def _expand(self, found: Mapping[str, Any]) -> Found:
        return {**found, "permissions": sorted(self._roles.expand(found["permissions"]))}

    def get_headers(self) -> dict[str, str]:
        """Return the provider's headers."""
        headers: dict[str, str] = self._provider.get_headers()
        return headers


_THREADS = 2
"""Passwords checked at once; each takes 16 MiB and a core."""
_limiter: RunVar[anyio.CapacityLimiter] = RunVar("kailash auth threads")


def ask_provider(provider: Any, credentials: Credentials) -> Any:
    """Return what a provider says, or an awaitable of it: one that blocks is asked in a thread.

    Raises:
        AuthenticationError: it does not know the caller.
    """
    if getattr(provider, "is_blocking", False):
        return _ask_in_thread(provider, credentials)
    return provider.authenticate(credentials)


async def _ask_in_thread(provider: Any, credentials: Credentials) -> Any:
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(_THREADS)
        _limiter.set(limiter)

    def ask() -> tuple[Any]:
        return (provider.authenticate(credentials),)  # trio lets no thread return a coroutine as it is

    (found,) = await to_thread.run_sync(ask, limiter=limiter, abandon_on_cancel=True)
    return await found if inspect.isawaitable(found) else found
