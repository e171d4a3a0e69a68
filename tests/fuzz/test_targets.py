"""Every parser is given what is in its corpus, that with bytes changed, cut and joined, and noise."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .targets import CORPUS, TARGETS

SEEDS = {name: [path.read_bytes() for path in sorted((CORPUS / name).iterdir())] for name in TARGETS}


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} == TARGETS.keys()
    assert all(len(seeds) >= 2 for seeds in SEEDS.values())


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_in_the_corpus_keeps_the_rule(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@st.composite
def _changed(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    data = bytearray(b"".join(draw(st.lists(st.sampled_from(seeds) | st.binary(max_size=6), min_size=1, max_size=3))))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        end = draw(st.integers(at, min(len(data), at + 12)))
        data[at:end] = draw(
            st.binary(max_size=4) | st.sampled_from([b"\0", b"\r\n", b"..", b"%", b"\xff", b'"', b"9" * 30])
        )
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_anything_keeps_the_rule(name: str) -> None:
    @settings(max_examples=max(30, settings().max_examples // 4))
    @given(_changed(SEEDS[name]) | st.binary(max_size=200))
    def run(data: bytes) -> None:
        TARGETS[name](data)

    run()
