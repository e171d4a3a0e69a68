"""WebSocket frames, without a socket: what is a message, what ends a connection and how, and what time does."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.framing.deflate import deflate as pack
from protocol.framing.websocket import ABNORMAL, Ending, SocketState, WebSocket, WebSocketLimits

KEY = b"\x01\x02\x03\x04"
SMALL = WebSocketLimits(message_bytes=1000)

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bytes | None = KEY, rsv: int = 0) -> bytes:
    """Return a frame as a client sends it, or, without a mask, a server."""
    size = len(payload)
    bit = 0 if mask is None else 0x80
    head = bytes([(0x80 if fin else 0) | rsv | opcode])
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += bytes([bit | 126]) + struct.pack("!H", size)
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", size)
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def deflate(data: bytes) -> bytes:
    packed = pack(data)
    assert packed is not None
    return packed


def closing(code: int, reason: bytes = b"", *, mask: bytes | None = KEY) -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason, mask=mask)


def server(limits: WebSocketLimits = SMALL, *, is_deflated: bool = False) -> WebSocket:
    return WebSocket(is_client=False, limits=limits, is_deflated=is_deflated)


def client(limits: WebSocketLimits = SMALL, *, is_deflated: bool = False) -> WebSocket:
    return WebSocket(is_client=True, limits=limits, mint_mask=lambda: KEY, is_deflated=is_deflated)


def sent(socket: WebSocket) -> bytes:
    return b"".join(socket.data_to_send())


def code_of(socket: WebSocket) -> int | None:
    return None if socket.ending is None else socket.ending.code


# Messages


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
@pytest.mark.parametrize("is_deflated", [False, True])
def test_what_one_side_frames_the_other_reads(size: int, is_deflated: bool) -> None:
    limits = WebSocketLimits(message_bytes=70000)
    texts = [bytes(97 + number % 26 for number in range(size)), b'{"a":1}', "ü€😀".encode()]
    for one, two in ((client, server), (server, client)):
        wire = one(limits, is_deflated=is_deflated).frame(texts)
        assert two(limits, is_deflated=is_deflated).receive_data(wire) == texts
        alone = one(limits, is_deflated=is_deflated).frame(texts[:1])
        assert two(limits, is_deflated=is_deflated).receive_data(alone) == texts[:1]


def test_a_client_masks_with_what_it_is_given_and_a_server_not_at_all() -> None:
    assert client().frame([b"hello"]) == frame(TEXT, b"hello")
    assert client().frame([b"h" * 9000]) == frame(TEXT, b"h" * 9000)
    assert server().frame([b"hello"]) == frame(TEXT, b"hello", mask=None)
    with pytest.raises(TypeError, match="mint_mask"):
        WebSocket(is_client=True, limits=SMALL)


def test_messages_are_bytes_of_their_own() -> None:
    socket = server()
    [one] = socket.receive_data(frame(TEXT, b"ab", fin=False) + frame(CONTINUATION, b"c"))
    [two] = socket.receive_data(frame(TEXT, b"def"))
    assert (type(one), one, type(two), two) == (bytes, b"abc", bytes, b"def")


def test_control_frames_stand_between_the_pieces_of_a_message() -> None:
    socket = server()
    assert socket.receive_data(frame(TEXT, b"a", fin=False)) == []
    assert socket.receive_data(frame(PING, b"p")) == []
    assert sent(socket) == frame(PONG, b"p", mask=None)
    assert socket.receive_data(frame(CONTINUATION, b"b", fin=False) + frame(PONG) + frame(CONTINUATION)) == [b"ab"]


def test_a_client_masks_its_pongs_too() -> None:
    socket = client()
    socket.receive_data(frame(PING, b"p", mask=None))
    assert sent(socket) == frame(PONG, b"p")


def test_a_character_may_be_cut_by_fragments() -> None:
    text = "κόσμε".encode()
    pieces = b"".join(frame(TEXT if not at else CONTINUATION, text[at : at + 1], fin=False) for at in range(len(text)))
    assert server().receive_data(pieces + frame(CONTINUATION)) == [text]


# Faults


FAULTS: dict[str, tuple[bytes, int]] = {
    "an unmasked frame": (frame(TEXT, b"x", mask=None), 1002),
    "a reserved bit": (frame(TEXT, b"x", rsv=0x40), 1002),
    "another reserved bit": (frame(TEXT, b"x", rsv=0x20), 1002),
    "an unknown opcode": (frame(3, b"x"), 1002),
    "an unknown control opcode": (frame(11, b"x"), 1002),
    "a length in too many bytes": (b"\x81\xfe\x00\x05" + KEY + b"abcde", 1002),
    "a length in far too many bytes": (b"\x81\xff" + struct.pack("!Q", 5) + KEY + b"abcde", 1002),
    "a length beyond 2**63": (b"\x81\xff" + struct.pack("!Q", 2**63) + KEY, 1002),
    "a fragmented ping": (frame(PING, b"x", fin=False), 1002),
    "a long ping": (frame(PING, b"x" * 126), 1002),
    "a long close": (frame(CLOSE, struct.pack("!H", 1000) + b"x" * 124), 1002),
    "a continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
    "a continuation after the end": (frame(TEXT, b"a") + frame(CONTINUATION, b"x"), 1002),
    "a message within a message": (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
    "half a code": (frame(CLOSE, b"\x03"), 1002),
    "a reason that is no text": (closing(1000, b"\xff"), 1007),
    "a binary message": (frame(BINARY, b"x"), 1003),
    "a binary fragment": (frame(BINARY, b"x", fin=False), 1003),
    "no UTF-8": (frame(TEXT, b"\xff"), 1007),
    "a surrogate": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "an overlong character": (frame(TEXT, b"\xc0\xaf"), 1007),
    "beyond Unicode": (frame(TEXT, b"\xf4\x90\x80\x80"), 1007),
    "half a character": (frame(TEXT, b"ok \xe2\x82"), 1007),
    "no UTF-8 over two frames": (frame(TEXT, b"\xe2", fin=False) + frame(CONTINUATION, b"a"), 1007),
    "a byte too many": (frame(TEXT, b"x" * 1001), 1009),
    "a byte too many over two frames": (frame(TEXT, b"x" * 1000, fin=False) + frame(CONTINUATION, b"x"), 1009),
    "a length that nobody has": (b"\x81\xff" + struct.pack("!Q", 2**62) + KEY, 1009),
    "one compressed message that was not agreed on": (frame(TEXT, deflate(b"x"), rsv=0x40), 1002),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_answered_with_its_code_and_ends_the_connection(name: str) -> None:
    wire, code = FAULTS[name]
    for pieces in ([wire], [wire[at : at + 1] for at in range(len(wire))]):
        socket = server()
        texts = [text for piece in pieces for text in socket.receive_data(piece)]
        assert texts == ([b"a"] if "after the end" in name else [])
        assert socket.state is SocketState.FAILED and code_of(socket) == code
        assert socket.ending is not None and socket.ending.is_ours and socket.ending.reason
        answer = sent(socket)
        assert answer[0] == 0x88 and answer[2:4] == struct.pack("!H", code)
        assert len(answer) == 2 + answer[1] <= 127 and answer[4:].decode() == socket.ending.reason[:123]
        # Nothing more is read, said, or waited for.
        assert socket.receive_data(frame(TEXT, b"late") + frame(PING)) == []
        assert socket.frame([b"late"]) == b"" and socket.data_to_send() == [] and socket.next_deadline() is None
        assert socket.receive_eof() == [] and code_of(socket) == code


def test_a_client_refuses_masked_frames() -> None:
    socket = client()
    socket.receive_data(frame(TEXT, b"x"))
    assert code_of(socket) == 1002
    assert sent(socket)[1] & 0x80


@pytest.mark.parametrize(("size", "code"), [(999, None), (1000, None), (1001, 1009)])
def test_the_longest_message_is_as_long_as_the_limit(size: int, code: int | None) -> None:
    socket = server()
    assert len(socket.receive_data(frame(TEXT, b"x" * size))) == (code is None)
    assert code_of(socket) == code
    apart = server()
    half = b"x" * (size // 2)
    apart.receive_data(frame(TEXT, half, fin=False) + frame(CONTINUATION, b"x" * (size - len(half))))
    assert code_of(apart) == code


def test_without_a_limit_anything_goes() -> None:
    socket = server(WebSocketLimits(message_bytes=None))
    assert len(socket.receive_data(frame(TEXT, b"x" * 100_000))[0]) == 100_000


def test_the_length_alone_is_enough_to_refuse() -> None:
    socket = server()
    socket.receive_data(frame(TEXT, b"x" * 1001)[:8])
    assert code_of(socket) == 1009


# Compression


def test_compressed_messages_are_inflated_within_the_limit() -> None:
    socket = server(is_deflated=True)
    for size in (999, 1000):
        assert socket.receive_data(frame(TEXT, deflate(b"x" * size), rsv=0x40)) == [b"x" * size]
    packed = deflate(b"y" * 900)
    pieces = frame(TEXT, packed[:3], rsv=0x40, fin=False) + frame(CONTINUATION, packed[3:])
    assert socket.receive_data(pieces + frame(TEXT, b"plain")) == [b"y" * 900, b"plain"]
    socket.receive_data(frame(TEXT, deflate(b"x" * 1001), rsv=0x40))
    assert code_of(socket) == 1009


@pytest.mark.parametrize("limit", [10**9, None])
def test_what_compresses_too_well_is_refused(limit: int | None) -> None:
    socket = server(WebSocketLimits(message_bytes=limit), is_deflated=True)
    packer = zlib.compressobj(9, wbits=-15)
    bomb = packer.compress(b"\0" * 50_000_000) + packer.flush()
    assert socket.receive_data(frame(TEXT, bomb, rsv=0x40)) == []
    assert code_of(socket) == 1009


def test_what_is_not_compressed_and_says_so_is_refused() -> None:
    socket = server(is_deflated=True)
    socket.receive_data(frame(TEXT, b"\xff\xff\xff", rsv=0x40))
    assert code_of(socket) == 1007


@pytest.mark.parametrize("wire", [frame(PING, rsv=0x40), frame(TEXT, fin=False) + frame(CONTINUATION, rsv=0x40)])
def test_only_the_first_frame_of_a_message_says_that_it_is_compressed(wire: bytes) -> None:
    socket = server(is_deflated=True)
    socket.receive_data(wire)
    assert code_of(socket) == 1002


def test_only_long_messages_are_compressed() -> None:
    socket = server(WebSocketLimits(), is_deflated=True)
    assert socket.frame([b"short"]) == frame(TEXT, b"short", mask=None)
    assert socket.frame([b"x" * 1024]) == frame(TEXT, deflate(b"x" * 1024), mask=None, rsv=0x40)


def test_what_our_own_kind_would_refuse_is_not_compressed() -> None:
    assert pack(b"x" * 1024 * 1024) is not None
    assert pack(b"x" * 1024 * 1025) is None
    socket = server(WebSocketLimits(), is_deflated=True)
    assert socket.frame([b"x" * 1024 * 1025]) == frame(TEXT, b"x" * 1024 * 1025, mask=None)


# The closing handshake


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999])
def test_a_close_is_answered_with_its_own_code(code: int) -> None:
    socket = server()
    assert socket.receive_data(frame(TEXT, b"a") + closing(code, b"why") + frame(TEXT, b"late")) == [b"a"]
    assert sent(socket) == closing(code, mask=None)
    assert socket.ending == Ending(code, "why", False)
    assert socket.is_over and socket.is_ending and socket.state is SocketState.CLOSED


@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_a_close_with_a_code_that_must_not_be_sent_is_a_fault(code: int) -> None:
    socket = server()
    socket.receive_data(closing(code))
    assert code_of(socket) == 1002 and socket.state is SocketState.FAILED


def test_a_close_without_a_code_is_answered_without_one() -> None:
    socket = server()
    socket.receive_data(frame(CLOSE))
    assert sent(socket) == frame(CLOSE, mask=None)
    assert socket.ending == Ending(1005, "", False)


def test_our_close_waits_for_the_peers() -> None:
    socket = server()
    socket.start(0)
    socket.close(1001, "going")
    socket.close(1000, "twice")
    assert sent(socket) == closing(1001, b"going", mask=None)
    assert socket.state is SocketState.CLOSING and socket.is_ending and not socket.is_over
    # What it still says is dropped, and a fault of its is not worth a second close.
    assert socket.receive_data(frame(TEXT, b"late") + frame(PING)) == []
    assert socket.frame([b"no more"]) == b"" and socket.data_to_send() == [] and socket.next_deadline() is None
    socket.receive_data(closing(1001))
    assert socket.is_over and socket.data_to_send() == []
    assert socket.ending == Ending(1001, "going", True)


def test_a_fault_after_our_close_is_not_answered() -> None:
    socket = server()
    socket.close()
    sent(socket)
    socket.receive_data(frame(BINARY, b"x"))
    assert socket.state is SocketState.FAILED and socket.data_to_send() == [] and code_of(socket) == 1000


def test_a_long_reason_is_cut_between_characters() -> None:
    socket = server()
    socket.close(1000, "€" * 100)
    answer = sent(socket)
    assert answer[4:].decode() == "€" * 41


def test_the_end_of_the_stream_is_no_close() -> None:
    socket = server()
    socket.receive_data(frame(TEXT, b"half", fin=False))
    assert socket.receive_eof() == []
    assert code_of(socket) == ABNORMAL and socket.is_over
    closed = server()
    closed.receive_data(closing(1000))
    closed.receive_eof()
    assert code_of(closed) == 1000


# Time


def test_pings_come_at_their_interval_and_any_word_is_an_answer() -> None:
    socket = server(WebSocketLimits(ping_interval=20, ping_timeout=5))
    assert socket.next_deadline() is None
    socket.start(100)
    assert socket.next_deadline() == 120
    socket.handle_deadline(110)
    assert socket.data_to_send() == []
    socket.handle_deadline(120)
    assert sent(socket) == frame(PING, b"kailash", mask=None)
    assert socket.next_deadline() == 125
    socket.receive_data(frame(TEXT, b"x"))
    socket.handle_deadline(125)
    assert socket.state is SocketState.OPEN and socket.next_deadline() == 140


def test_silence_after_a_ping_ends_the_connection() -> None:
    socket = server(WebSocketLimits(ping_interval=20, ping_timeout=5))
    socket.start(0)
    socket.receive_data(frame(PONG))  # before, and so no answer
    socket.handle_deadline(20)
    sent(socket)
    socket.handle_deadline(25)
    assert socket.state is SocketState.FAILED and code_of(socket) == 1011


def test_a_timeout_longer_than_the_interval_counts_from_the_first_ping() -> None:
    socket = server(WebSocketLimits(ping_interval=10, ping_timeout=25))
    socket.start(0)
    for now in (10, 20):
        socket.handle_deadline(now)
        assert sent(socket)
    socket.handle_deadline(30)
    assert socket.state is SocketState.OPEN
    socket.handle_deadline(35)
    assert code_of(socket) == 1011


def test_pings_and_their_deadline_can_be_left_out() -> None:
    none = server(WebSocketLimits(ping_interval=None))
    none.start(0)
    assert none.next_deadline() is None
    patient = server(WebSocketLimits(ping_interval=10, ping_timeout=None))
    patient.start(0)
    patient.handle_deadline(10)
    assert patient.next_deadline() == 20


@pytest.mark.parametrize("wire", [frame(TEXT, b"x", fin=False), frame(TEXT, b"xyz")[:-1], b"\x81"])
def test_a_message_must_come_within_its_time(wire: bytes) -> None:
    socket = server(WebSocketLimits(message_timeout=30, ping_interval=None))
    socket.start(0)
    socket.receive_data(wire)
    assert socket.next_deadline() == 0.0, "it is not told the time, so it asks for it"
    socket.handle_deadline(100)
    assert socket.next_deadline() == 130
    socket.receive_data(frame(PING)) if wire[0] == 1 else None
    socket.handle_deadline(129)
    assert socket.state is SocketState.OPEN
    socket.handle_deadline(130)
    assert code_of(socket) == 1008


def test_a_message_that_came_in_time_is_forgotten() -> None:
    socket = server(WebSocketLimits(message_timeout=30))
    socket.receive_data(frame(TEXT, b"x", fin=False))
    socket.handle_deadline(100)
    assert socket.receive_data(frame(CONTINUATION, b"y")) == [b"xy"]
    assert socket.next_deadline() is None
    slow = server(WebSocketLimits(message_timeout=None))
    slow.receive_data(frame(TEXT, b"x", fin=False))
    assert slow.next_deadline() is None


# Any bytes, cut anywhere


def outcome(pieces: list[bytes], *, is_deflated: bool) -> tuple[Any, ...]:
    socket = server(WebSocketLimits(message_bytes=300), is_deflated=is_deflated)
    texts = [text for piece in pieces for text in socket.receive_data(piece)]
    return texts, sent(socket), socket.state, socket.ending


FRAMES = st.builds(
    frame,
    st.sampled_from([TEXT, TEXT, TEXT, CONTINUATION, CONTINUATION, PING, PONG, CLOSE, BINARY, 3]),
    st.one_of(
        st.binary(max_size=140),
        st.text(max_size=80).map(str.encode),
        st.binary(max_size=60).map(deflate),
        st.just(struct.pack("!H", 1000)),
    ),
    fin=st.booleans(),
    mask=st.sampled_from([KEY, KEY, KEY, KEY, None]),
    rsv=st.sampled_from([0, 0, 0, 0x40]),
)


@given(st.lists(st.one_of(FRAMES, FRAMES, FRAMES, st.binary(max_size=20)), max_size=8), st.data(), st.booleans())
@example([frame(TEXT, b"a"), closing(1000)], None, False)
def test_any_bytes_give_the_same_texts_and_one_ending_however_they_are_cut(
    parts: list[bytes], data: Any, is_deflated: bool
) -> None:
    wire = b"".join(parts)
    whole = outcome([wire], is_deflated=is_deflated) if wire else ([], b"", SocketState.OPEN, None)
    assert outcome([wire[at : at + 1] for at in range(len(wire))], is_deflated=is_deflated) == whole
    if data is not None:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=5)))
        bounds = [0, *cuts, len(wire)]
        pieces = [wire[start:end] for start, end in pairwise(bounds)]
        assert outcome([piece for piece in pieces if piece], is_deflated=is_deflated) == whole
    ending = whole[3]
    assert ending is None or ending.code in {1002, 1003, 1005, 1007, 1009} or not ending.is_ours
