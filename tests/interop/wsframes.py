"""Reads the WebSocket frames that passed on a connection. Nothing of the project is used to read them."""

from collections.abc import Iterable

__all__ = ["is_websocket", "read_texts"]


def is_websocket(data: bytes) -> bool:
    """Tell whether what a client sent first opens a WebSocket."""
    return b"\nupgrade: websocket\r" in data.lower()


def read_texts(pieces: Iterable[tuple[int, bytes]], *, is_masked: bool) -> list[tuple[int, str]]:
    """Return the texts that one side sent, each with the place of the piece that completed it.

    Args:
        pieces: what it sent, with places; the head of the handshake first.
        is_masked: every frame has a mask, as a client's, or none has.
    """
    found: list[tuple[int, str]] = []
    data, text, has_head = b"", b"", True
    for place, piece in pieces:
        data += piece
        if has_head:
            if b"\r\n\r\n" not in data:
                continue
            data, has_head = data.partition(b"\r\n\r\n")[2], False
        while (frame := _first(data)) is not None:
            first, mask, payload, data = frame
            assert (mask is not None) is is_masked, "a mask where there must be none, or none where there must be one"
            assert first & 0x70 == 0, "a reserved bit"
            if mask is not None:
                payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
            assert first & 15 in (0, 1, 8, 9, 10), f"opcode {first & 15}"
            if first & 15 < 2:
                text += payload
                if first & 0x80:
                    found.append((place, text.decode()))
                    text = b""
    return found


def _first(data: bytes) -> tuple[int, bytes | None, bytes, bytes] | None:
    if len(data) < 2:
        return None
    size, at = data[1] & 0x7F, 2
    for mark, count in ((126, 2), (127, 8)):
        if data[1] & 0x7F == mark:
            size, at = int.from_bytes(data[2 : 2 + count], "big"), 2 + count
    mask = None
    if data[1] & 0x80:
        mask, at = data[at : at + 4], at + 4
    return (data[0], mask, data[at : at + size], data[at + size :]) if len(data) >= at + size else None
