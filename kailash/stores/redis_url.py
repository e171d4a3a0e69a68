"""Where a Redis server is and how to log in there, read from a URL that is never shown again."""

import ssl
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["RedisAddress"]

_OPTIONS: Final = frozenset({"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """The parts of a URL; its `repr` and `shown` hold no secret."""

    shown: str
    """For people: scheme, place and database."""
    host: str | None = None
    port: int = 6379
    path: str | None = None
    """Of a Unix socket."""
    db: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> "RedisAddress":
        """Read `redis://user:password@host:port/db`, `rediss://…` (TLS) or `unix:///path?db=0`.

        Raises:
            ValueError: a part makes no sense; the message does not repeat the URL.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or 6379
        except ValueError:
            raise ValueError("the URL of the Redis store has no valid port") from None
        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        unknown = options.keys() - _OPTIONS
        if unknown:
            known = ", ".join(sorted(_OPTIONS))
            raise ValueError(
                f"unknown option {', '.join(sorted(unknown))} in the URL of the Redis store; known: {known}"
            )
        is_unix = parts.scheme == "unix"
        number = options.get("db") or ("" if is_unix else parts.path.strip("/")) or "0"
        if not (number.isascii() and number.isdigit()):
            raise ValueError("the database of a Redis store is a number: redis://host:6379/0")
        if is_unix and not parts.path:
            raise ValueError("the URL of a Redis store on a Unix socket names its path: unix:///run/redis.sock")
        if not is_unix and not parts.hostname:
            raise ValueError("the URL of the Redis store names no host: redis://host:6379/0")
        place = parts.path if is_unix else f"{parts.hostname}:{port}/{number}"
        return cls(
            shown=f"{parts.scheme}://{place}",
            host=None if is_unix else parts.hostname,
            port=port,
            path=unquote(parts.path) if is_unix else None,
            db=int(number),
            username=None if not parts.username else unquote(parts.username),
            password=None if not parts.password else unquote(parts.password),
            tls=_make_context(options) if parts.scheme == "rediss" else None,
        )


def _make_context(options: dict[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    certfile = options.get("ssl_certfile")
    if certfile is not None:
        context.load_cert_chain(certfile, options.get("ssl_keyfile"))
    return context
