"""What the HTTP bindings are told of a request beyond its head, and what they give: heads, bodies, whole answers."""

from collections.abc import Iterable
from enum import Enum
from typing import Final

from msgspec import UNSET, Struct, UnsetType

from ..errors import ErrorCode, ErrorObject
from ..jsonrpc import RequestId, encode_error
from ..repeats import CallReader

__all__ = ["END", "Answer", "Arrival", "End", "Header", "Part", "ResponseHead", "refuse"]

Header = tuple[bytes, bytes]
"""One header line: a name in lower case and its value."""

JSON_TYPE: Final = (b"content-type", b"application/json")
RETRY_AFTER: Final = (b"retry-after", b"1")


class Arrival(Struct, frozen=True):
    """Where requests arrive: one for a connection, or for all of them."""

    local: str | None = None
    """Our address that they are sent to, without the port; `None`: a Unix socket, or unknown."""
    prefix: str = ""
    """The path under which the application is mounted, without a slash at its end."""
    peer: str | None = None
    """The address at the other end, without the port; `None`: a Unix socket, or unknown."""
    calls: CallReader | None = None
    """What reads the calls that arrive there, if they come from one client."""


ANYWHERE: Final = Arrival()
"""A place of which nothing is known."""


class ResponseHead(Struct, frozen=True):
    """Status and headers of a response whose body comes as it comes, without those that frame it."""

    status: int
    headers: list[Header]


class End(Enum):
    """The type of `END`."""

    END = "end"


END: Final = End.END
"""The end of a response's body."""


class Answer(Struct, frozen=True):
    """A whole response."""

    status: int
    headers: list[Header]
    body: bytes = b""

    def data_to_send(self) -> "list[Part]":
        """Return the response as an exchange would."""
        return [self]

    def with_headers(self, headers: Iterable[Header]) -> "Answer":
        """Return the same answer with more headers."""
        return Answer(self.status, [*self.headers, *headers], self.body)


Part = Answer | ResponseHead | bytes | End
"""What `data_to_send` lists: an `Answer` alone; or one head, then pieces of the body, then `END`."""


def refuse(
    status: int,
    why: str | ErrorObject,
    *headers: Header,
    id: RequestId | UnsetType = UNSET,
) -> Answer:
    """Return an answer that carries a JSON-RPC error.

    Args:
        status: the HTTP status.
        why: the error, or the message of an invalid request.
        headers: more of them.
        id: the refused request's, where it was read.
    """
    error = ErrorObject(ErrorCode.INVALID_REQUEST, why) if isinstance(why, str) else why
    body = encode_error(id, error)
    return Answer(status, [JSON_TYPE, *headers], body)
