"""Compression of single messages, and their inflation within a bound; no context is kept from one to the next.

What inflates without a bound is what implementations of permessage-deflate are attacked through.
"""

import zlib
from typing import Final

__all__ = ["MOST_RATIO", "Bomb", "deflate", "inflate"]

MOST_RATIO: Final = 100
"""Bytes that a byte may inflate to, once that is more than 1 MiB."""
_FREE: Final = 1024 * 1024
_TAIL = b"\x00\x00\xff\xff"


class Bomb(Exception):
    """A message that would inflate to more than it may."""


def _bound(size: int) -> int:
    return max(_FREE, MOST_RATIO * size)


def deflate(data: bytes) -> bytes | None:
    """Return a message compressed as permessage-deflate has it; `None` where our own kind would refuse to inflate it.

    RFC 7692 section 7.2.1.
    """
    packer = zlib.compressobj(wbits=-15)
    packed = (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
    return packed if len(data) <= _bound(len(packed)) else None


def inflate(data: bytes, limit: int | None) -> bytes:
    """Return what a message was before it was compressed.

    Raises:
        Bomb: it is longer than `limit`, or compresses too well to be honest.
        ValueError: it is no such message.
    """
    bound = _bound(len(data)) if limit is None else min(_bound(len(data)), limit)
    unpacker = zlib.decompressobj(wbits=-15)
    try:
        found = unpacker.decompress(data + _TAIL, bound + 1)
    except zlib.error:
        raise ValueError("a message that cannot be inflated") from None
    if len(found) > bound:
        raise Bomb(f"message inflates to more than {bound} bytes")
    return found
