"""Request state: what was sealed for one asker comes back whole to that asker, and to nobody else."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from protocol import (
    CallToolParams,
    ErrorCode,
    GetPromptParams,
    LocalProtocolError,
    PaginatedParams,
    ReadResourceParams,
    RemoteProtocolError,
    StateSealer,
)
from protocol.inputs import params_digest
from tests.requirements import rule

KEY, OTHER = b"k" * 32, b"o" * 32
SEALER = StateSealer([KEY], lifetime=60.0)
ASKED: dict[str, Any] = {
    "principal": "alice",
    "method": "tools/call",
    "params": CallToolParams(name="t", arguments=Raw(b'{"a":1,"b":[2]}')),
}


def opened(text: str, *, sealer: StateSealer = SEALER, now: float = 0.0, **changed: Any) -> bytes:
    return sealer.open(text, now=now, **(ASKED | changed))


def refused(text: str, **changed: Any) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        opened(text, **changed)
    assert caught.value.error.code == ErrorCode.INVALID_PARAMS
    assert caught.value.error.message == "requestState is invalid or expired"


@rule(171, 173)
@given(st.binary(max_size=200))
def test_state_comes_back_to_who_asked(state: bytes) -> None:
    text = SEALER.seal(state, now=0.0, **ASKED)
    assert text.isascii() and opened(text, now=59.0) == state
    assert opened(text, params=CallToolParams(name="t", arguments=Raw(b'{ "b": [2], "a": 1 }'))) == state
    refused(text, now=60.0)
    refused(text, principal="bob")
    refused(text, principal=None)
    refused(text, method="prompts/get")
    refused(text, params=CallToolParams(name="u", arguments=Raw(b'{"a":1,"b":[2]}')))
    refused(text, params=CallToolParams(name="t", arguments=Raw(b'{"a":2,"b":[2]}')))
    refused(text, params=CallToolParams(name="t"))
    refused(text, sealer=StateSealer([OTHER]))


@rule(171)
@given(st.integers(0, 200), st.integers(1, 255))
def test_no_bit_can_be_changed(position: int, change: int) -> None:
    data = bytearray(urlsafe_b64decode(SEALER.seal(b"state" * 20, now=0.0, **ASKED)))
    data[position % len(data)] ^= change
    refused(urlsafe_b64encode(bytes(data)).decode())


@rule(171)
@given(st.text(max_size=100))
def test_no_text_that_we_did_not_write_is_opened(text: str) -> None:
    refused(text)


@pytest.mark.parametrize("extra", ["A", "=", "\n", "!", " "])
def test_other_spellings_of_the_same_bytes_are_refused(extra: str) -> None:
    text = SEALER.seal(b"12345678901", now=0.0, **ASKED)
    refused(text + extra)
    refused(extra + text)
    refused(text.replace("=", ""))
    refused("A" * 100_000)
    assert opened(text) == b"12345678901"


def test_keys_can_be_rotated() -> None:
    old = SEALER.seal(b"s", now=0.0, **ASKED)
    rotated = StateSealer([OTHER, KEY], lifetime=60.0)
    assert opened(old, sealer=rotated) == b"s"
    refused(rotated.seal(b"s", now=0.0, **ASKED))
    for keys in ([], [b"short"], [KEY, b"short"]):
        with pytest.raises(ValueError, match="32 bytes"):
            StateSealer(keys)


@pytest.mark.parametrize(("excess", "is_good"), [(-1, True), (0, True), (1, False)])
def test_state_is_bounded(excess: int, is_good: bool) -> None:
    state = b"s" * (32 * 1024 + excess)
    if is_good:
        assert opened(SEALER.seal(state, now=0.0, **ASKED)) == state
    else:
        with pytest.raises(LocalProtocolError):
            SEALER.seal(state, now=0.0, **ASKED)


def test_the_digest_is_of_what_is_asked_for() -> None:
    different = [
        params_digest("tools/call", CallToolParams(name="a")),
        params_digest("tools/call", CallToolParams(name="a", arguments=Raw(b"{}"))),
        params_digest("tools/call", CallToolParams(name="a", arguments=Raw(b'"\xff'))),
        params_digest("prompts/get", GetPromptParams(name="a")),
        params_digest("prompts/get", GetPromptParams(name="a", arguments={"x": "y"})),
        params_digest("resources/read", ReadResourceParams(uri="a")),
        params_digest("tools/list", PaginatedParams()),
    ]
    assert len(set(different)) == len(different)
