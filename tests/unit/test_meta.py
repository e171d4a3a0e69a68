"""The keys of `_meta` and the part of it that an engine reads."""

import msgspec
import pytest
from msgspec import UNSET, Raw

from protocol import meta


def decode(text: bytes) -> meta.RequestMeta:
    return msgspec.json.decode(text, type=meta.RequestMeta)


def test_the_engine_reads_its_own_keys_and_ignores_the_rest():
    read = decode(
        b'{"io.modelcontextprotocol/protocolVersion":"x","io.modelcontextprotocol/clientCapabilities":{"a": 1},'
        b'"io.modelcontextprotocol/clientInfo":{"name": "a"},"io.modelcontextprotocol/logLevel":"info",'
        b'"progressToken":0,"vendor.example/x":1}'
    )
    assert read.protocol_version == "x"
    assert isinstance(read.client_capabilities, Raw)
    assert bytes(read.client_capabilities) == b'{"a": 1}'
    assert isinstance(read.client_info, Raw)
    assert bytes(read.client_info) == b'{"name": "a"}'
    assert (read.log_level, read.progress_token) == ("info", 0)


def test_absent_keys_are_unset():
    read = decode(b"{}")
    assert all(getattr(read, name) is UNSET for name in read.__struct_fields__)


@pytest.mark.parametrize(
    "text",
    [
        b'{"progressToken":true}',
        b'{"progressToken":1.0}',
        b'{"progressToken":1.5}',
        b'{"progressToken":null}',
        b'{"io.modelcontextprotocol/logLevel":"loud"}',
        b'{"io.modelcontextprotocol/protocolVersion":1}',
        b"[]",
    ],
)
def test_values_of_the_wrong_kind_are_refused(text: bytes):
    with pytest.raises(msgspec.ValidationError):
        decode(text)


VALID = [
    "a",
    "",
    "progressToken",
    "a-b_c.d",
    "io.modelcontextprotocol/logLevel",
    "com.example/",
    "a/b",
    "a1.b-2/c",
    "com.example/1x",
]
INVALID = [
    "-a",
    "a-",
    "_a",
    ".a",
    "a b",
    "a/b/c",
    "/a",
    "1a/b",
    "a-/b",
    "a..b/c",
    ".a/b",
    "a./b",
    "a_b/c",
    "\u00e9",
    "a\n",
]


@pytest.mark.parametrize("name", VALID)
def test_keys_that_follow_the_grammar_are_valid(name: str):
    assert meta.is_valid_key(name)


@pytest.mark.parametrize("name", INVALID)
def test_keys_that_do_not_follow_the_grammar_are_not(name: str):
    assert not meta.is_valid_key(name)


def test_every_key_of_the_protocol_is_valid_and_reserved():
    keys = [
        meta.PROTOCOL_VERSION,
        meta.CLIENT_CAPABILITIES,
        meta.CLIENT_INFO,
        meta.LOG_LEVEL,
        meta.SERVER_INFO,
        meta.SUBSCRIPTION_ID,
        meta.RELATED_TASK,
        meta.MODEL_IMMEDIATE_RESPONSE,
        *meta.UNPREFIXED_RESERVED,
    ]
    for key in keys:
        assert meta.is_valid_key(key)
        assert meta.is_reserved_key(key)


@pytest.mark.parametrize(
    ("name", "newer", "older"),
    [
        ("io.modelcontextprotocol/a", True, False),
        ("dev.mcp/a", True, False),
        ("org.modelcontextprotocol.api/a", True, True),
        ("com.mcp.tools/a", True, True),
        ("com.example.mcp/a", False, False),
        ("modelcontextprotocol.io/a", False, True),
        ("mcp.dev/a", False, True),
        ("api.modelcontextprotocol.org/a", True, True),
        ("tools.mcp.com/", True, True),
        ("com.example/mcp", False, False),
        ("mcp/a", False, False),
        ("progressToken", True, True),
        ("traceparent", True, True),
        ("tracestate", True, True),
        ("baggage", True, True),
        ("mcp", False, False),
    ],
)
def test_a_reserved_prefix_depends_on_the_revision(name: str, newer: bool, older: bool):
    assert meta.is_reserved_key(name) is newer
    assert meta.is_reserved_key(name, strict_any_label=True) is older


@pytest.mark.parametrize("name", ["io.modelcontextprotocol/tasks", "a/b", "com.example/x-v2"])
def test_an_extension_has_a_prefix_and_a_name(name: str):
    assert meta.is_extension_id(name)


@pytest.mark.parametrize("name", ["tasks", "com.example/", "", "/a", "a/b/c", "a//b", "a.b"])
def test_what_lacks_either_names_no_extension(name: str):
    assert not meta.is_extension_id(name)


def test_long_names_are_judged_in_no_time():
    assert not meta.is_valid_key("a." * 50_000 + "/")
    assert not meta.is_valid_key("a" + "-" * 100_000)
    assert not meta.is_extension_id("a-" * 50_000 + "/b")
