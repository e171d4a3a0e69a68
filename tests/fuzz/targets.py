"""Any bytes give events or one documented fault, and the same ones however they are cut.

One function for each parser that a peer, a file or a person can feed: it takes bytes, and fails where the rule does not
hold. Hypothesis runs them all with what is in `corpus/` (test_targets.py); `python -m tests.fuzz NAME` runs one under
atheris, by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from kailash.adapters.http_url import parse_url
from kailash.adapters.url_security import TransportSecurity
from kailash.auth.jwks import read_key_set
from kailash.auth.jwt import import_secret, parse_token
from kailash.errors import AuthenticationError
from kailash.mcp_client.config import ClientConfig, expand_variables, load_servers
from kailash.mcp_server.templates import Template
from kailash.schema import ArgumentError, derive_arguments
from kailash.schema.docstrings import parse_docstring
from kailash.stores.redis_url import RedisAddress
from protocol import ClientEngine, Pipe, RemoteProtocolError, ServerEngine
from protocol.framing.deflate import Bomb, deflate, inflate
from protocol.framing.handshake import ClientHandshake, Opened
from protocol.framing.headers import decode_value, encode_value, mirror_paths
from protocol.framing.http11 import make_http_client, make_http_server
from protocol.framing.httphead import RequestHead
from protocol.framing.lines import LineCodec
from protocol.framing.sse import SSEDecoder
from protocol.framing.websocket import WebSocket, WebSocketLimits
from protocol.http.eventlog import parse_event_id
from protocol.inputs import StateSealer
from protocol.jsonrpc import decode
from protocol.limits import SERVER_LIMITS
from protocol.sharing import decode_record, encode_record
from protocol.socketpipe import SocketPipe
from tests.pair import client_profile, server_profile

__all__ = ["CORPUS", "TARGETS"]

CORPUS = Path(__file__).parent / "corpus"
Target = Callable[[bytes], None]
TARGETS: dict[str, Target] = {}
"""The targets, by name."""


def target(function: Target) -> Target:
    TARGETS[function.__name__] = function
    return function


def same_however_cut(data: bytes, outcome: Callable[[list[bytes]], Any]) -> Any:
    """Return what the whole gives, which is what its pieces give."""
    whole = outcome([data] if data else [])
    for size in (1, 7):
        assert outcome([data[at : at + size] for at in range(0, len(data), size)]) == whole, size
    return whole


# Framing


@target
def lines(data: bytes) -> None:
    def outcome(chunks: list[bytes]) -> Any:
        codec = LineCodec(40)
        found = [line for chunk in chunks for line in codec.receive_data(chunk)]
        assert len(codec._kept) <= 40 and codec.is_partial == bool(codec._skipping or codec._kept)
        return found + codec.receive_eof(), codec.finished

    same_however_cut(data, outcome)


@target
def server_pipe(data: bytes) -> None:
    def outcome(chunks: list[bytes]) -> Any:
        pipe = Pipe(ServerEngine(server_profile()))
        for chunk in chunks:
            pipe.receive_data(chunk)
        pipe.receive_eof()
        return [type(event) for event in pipe.events_received()], pipe.data_to_send()

    for message in b"".join(same_however_cut(data, outcome)[1]).splitlines():
        msgspec.json.decode(message)


@target
def socket_pipe(data: bytes) -> None:
    def outcome(chunks: list[bytes]) -> Any:
        pipe = SocketPipe(ServerEngine(server_profile()))
        for chunk in chunks:
            pipe.receive_data(chunk)
        pipe.receive_eof()
        return [type(event) for event in pipe.events_received()], pipe.data_to_send(), pipe.close_expected()

    same_however_cut(data, outcome)


@target
def client_pipe(data: bytes) -> None:
    def outcome(chunks: list[bytes]) -> Any:
        pipe = Pipe(ClientEngine(client_profile()))
        pipe.engine.start(deadline=9.0)
        for chunk in chunks:
            pipe.receive_data(chunk)
        pipe.receive_eof()
        return [type(event) for event in pipe.events_received()], pipe.data_to_send()

    same_however_cut(data, outcome)


@target
def envelopes(data: bytes) -> None:
    decode(data, SERVER_LIMITS)


@target
def http_server(data: bytes) -> None:
    def outcome(chunks: list[bytes]) -> Any:
        server = make_http_server("h11")
        events: list[Any] = []
        for chunk in chunks:
            server.receive_data(chunk)
            events += server.events_received()
        server.receive_eof()
        events += server.events_received()
        heads = [(event.method, event.target, list(event.headers)) for event in events if type(event) is RequestHead]
        return heads, b"".join(server.data_to_send())

    same_however_cut(data, outcome)


@target
def http_client(data: bytes) -> None:
    def outcome(chunks: list[bytes]) -> Any:
        client = make_http_client("h11")
        client.send_request("GET", "/", headers=[(b"host", b"h")])
        events: list[Any] = []
        for chunk in chunks:
            client.receive_data(chunk)
            events += client.events_received()
        client.receive_eof()
        kinds = [type(event).__name__ for event in events + client.events_received()]
        return [kind for kind in kinds if kind != "Data"]

    same_however_cut(data, outcome)


@target
def event_streams(data: bytes) -> None:
    def outcome(chunks: list[bytes]) -> Any:
        decoder = SSEDecoder(40)
        events = [event for chunk in chunks for event in decoder.receive_data(chunk)]
        return events, decoder.last_event_id, decoder.retry_ms, decoder.skipped

    same_however_cut(data, outcome)


def _websocket(data: bytes, *, is_client: bool, is_deflated: bool) -> None:
    def outcome(chunks: list[bytes]) -> Any:
        limits = WebSocketLimits(message_bytes=100)
        socket = WebSocket(is_client=is_client, limits=limits, mint_mask=lambda: b"mask", is_deflated=is_deflated)
        texts = [text for chunk in chunks for text in socket.receive_data(chunk)]
        assert all(len(text) <= 100 for text in texts)
        said = b"".join(socket.data_to_send())
        socket.receive_eof()
        return texts, said, socket.state, socket.ending

    same_however_cut(data, outcome)


@target
def websocket_server(data: bytes) -> None:
    _websocket(data, is_client=False, is_deflated=False)
    _websocket(data, is_client=False, is_deflated=True)


@target
def websocket_client(data: bytes) -> None:
    _websocket(data, is_client=True, is_deflated=False)


@target
def websocket_answer(data: bytes) -> None:
    made = ClientHandshake("/", "h", nonce=bytes(16))
    found = made.receive_data(data) or made.receive_eof()
    assert not isinstance(found, Opened) or b"101" in data


@target
def deflated(data: bytes) -> None:
    with suppress(Bomb, ValueError):
        assert len(inflate(data, 1000)) <= 1000
    packed = deflate(data)
    assert packed is None or inflate(packed, None) == data


# Texts


@target
def header_values(data: bytes) -> None:
    with suppress(ValueError):
        text = decode_value(data)
        assert decode_value(encode_value(text)) == text


@target
def mirrored_schemas(data: bytes) -> None:
    with suppress(ValueError, msgspec.DecodeError, RecursionError):
        schema = msgspec.json.decode(data)
        if isinstance(schema, dict):
            mirror_paths(schema)


@target
def event_ids(data: bytes) -> None:
    found = parse_event_id(data)
    assert found is None or min(found) >= 0


@target
def handshake_records(data: bytes) -> None:
    record = decode_record(data)
    assert record is None or decode_record(encode_record(record)) == record


_SEALER = StateSealer([b"k" * 32])


@target
def request_states(data: bytes) -> None:
    try:
        _SEALER.open(data.decode("latin-1"), principal=None, method="tools/call", params=None, now=0.0)
    except RemoteProtocolError:
        return
    raise AssertionError("a state that we did not seal was opened")


@target
def uri_templates(data: bytes) -> None:
    text, _, uri = data.decode("utf-8", "replace").partition("\0")
    with suppress(ValueError):
        template = Template(text)
        found = template.match(uri)
        if found:
            assert all(".." not in str(value).split("/") and "\0" not in str(value) for value in found.values())


@target
def docstrings(data: bytes) -> None:
    parse_docstring(data.decode("utf-8", "replace"))


@target
def urls(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    with suppress(ValueError):
        url = parse_url(text)
        again = parse_url(url.text)
        # The zone of an address is of this machine alone: it is not in what is sent.
        assert (again.host, again.port, again.target) == (url.host.partition("%")[0], url.port, url.target)
        assert not any(character in url.text for character in "\r\n\0 ")


@target
def addresses(data: bytes) -> None:
    """What is no public address is never taken for one, however it is spelled."""
    text = data.decode("latin-1")
    for allow_localhost in (True, False):
        with suppress(ValueError):
            allowed = TransportSecurity(allow_localhost=allow_localhost).allows(text)
            assert not (allowed and not allow_localhost and ("127.0.0.1" in text or "169.254" in text)) or ":" in text


@target
def client_configs(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    with suppress(ValueError):
        config = ClientConfig.of(text)
        config.problems(), config.endpoint, config.key
    with suppress(ValueError, TypeError):
        ClientConfig.of({"url": text}).problems()


@target
def server_files(data: bytes) -> None:
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        content = msgspec.json.decode(data)
        if isinstance(content, dict):
            with suppress(ValueError):
                load_servers(content)


@target
def variables(data: bytes) -> None:
    with suppress(ValueError):
        expand_variables(data.decode("utf-8", "replace"), {"A": "${A}"})


@target
def redis_urls(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    try:
        RedisAddress.parse(text)
    except ValueError as error:
        password = text.partition("://")[2].partition("@")[0].partition(":")[2]
        assert len(password) < 6 or password not in str(error), "a password is shown"


# Credentials


@target
def tokens(data: bytes) -> None:
    text = data.decode("latin-1")
    with suppress(AuthenticationError):
        token = parse_token(text, ["HS256"])
        assert not import_secret(b"s" * 32).verifies("HS256", token.message, token.signature)


@target
def key_sets(data: bytes) -> None:
    with suppress(ValueError):
        read_key_set(data)


# Arguments


def _tool(
    number: int, text: str = "", many: list[dict[str, float]] | None = None, flag: bool | None = None
) -> None: ...


_ARGUMENTS = derive_arguments(_tool)


@target
def arguments(data: bytes) -> None:
    with suppress(ArgumentError):
        found = _ARGUMENTS.bind(data)
        assert type(found["number"]) is int
