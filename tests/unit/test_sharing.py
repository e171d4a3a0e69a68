"""Records of handshakes are pure data, and survive being kept."""

from hypothesis import given
from hypothesis import strategies as st

from protocol.capabilities import ClientCapabilities
from protocol.sharing import HandshakeRecord, decode_record, encode_record
from protocol.types import Implementation


@given(st.text(), st.none() | st.text(), st.floats(0, 1e12))
def test_a_record_survives_being_kept(name: str, principal: str | None, born: float) -> None:
    record = HandshakeRecord(
        revision="r",
        peer=Implementation(name=name, version="1"),
        capabilities=ClientCapabilities(sampling={}, experimental={"x": {"y": 1}}),
        principal=principal,
        born=born,
    )
    again = decode_record(encode_record(record))
    assert again is not None and encode_record(again) == encode_record(record)
