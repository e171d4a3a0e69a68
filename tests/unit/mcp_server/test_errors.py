"""The errors of servers and clients: one hierarchy, codes that survive the wire, and what clients make of them."""

import builtins
import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kailash.mcp_server.errors as door
from kailash.errors import from_wire, to_wire
from kailash.mcp_client.failures import answered, connection_lost, ended, found_here
from kailash.mcp_server.errors import (
    AuthenticationError,
    AuthorizationError,
    CircuitOpenError,
    ConnectionError,
    MCPError,
    MCPErrorCode,
    RateLimitError,
    RequestError,
    RequestTimeoutError,
    ResourceError,
    ServiceDiscoveryError,
    ToolError,
    TransportError,
    URLElicitationRequiredError,
    ValidationError,
)
from kailash.mcp_server.tools import wire_error
from protocol.errors import ErrorCode, ErrorObject

DEFAULTS: dict[type[MCPError], MCPErrorCode] = {
    MCPError: MCPErrorCode.INTERNAL_ERROR,
    TransportError: MCPErrorCode.TRANSPORT_ERROR,
    ConnectionError: MCPErrorCode.CONNECTION_ERROR,
    RequestTimeoutError: MCPErrorCode.TIMEOUT,
    AuthenticationError: MCPErrorCode.AUTHENTICATION_FAILED,
    AuthorizationError: MCPErrorCode.AUTHORIZATION_FAILED,
    RateLimitError: MCPErrorCode.RATE_LIMITED,
    ToolError: MCPErrorCode.TOOL_ERROR,
    ResourceError: MCPErrorCode.RESOURCE_ERROR,
    ServiceDiscoveryError: MCPErrorCode.SERVICE_DISCOVERY_ERROR,
    ValidationError: MCPErrorCode.VALIDATION_ERROR,
    CircuitOpenError: MCPErrorCode.CIRCUIT_OPEN,
}
KINDS = list(DEFAULTS.items())


# The hierarchy


@pytest.mark.parametrize(("kind", "code"), KINDS)
def test_each_kind_has_a_code_and_is_one_of_all(kind: type[MCPError], code: MCPErrorCode) -> None:
    error = kind("what happened")
    assert isinstance(error, MCPError) and error.error_code is code
    assert str(error) == error.message == "what happened"
    assert error.data is None and error.retryable is False and error.retry_after is None
    assert code.name in repr(error)


def test_a_dropped_connection_is_no_way_that_does_not_work() -> None:
    # The document catches TransportError first and must still reach the second clause.
    assert issubclass(ConnectionError, builtins.ConnectionError)
    assert not issubclass(ConnectionError, TransportError) and not issubclass(TransportError, ConnectionError)
    assert issubclass(RequestTimeoutError, builtins.TimeoutError)


def test_codes_are_integers_of_json_rpc_or_above_zero() -> None:
    assert MCPErrorCode.INVALID_PARAMS == -32602 and MCPErrorCode.VALIDATION_ERROR == 1001
    assert MCPErrorCode.TOOL_ERROR is MCPErrorCode.TOOL_EXECUTION_FAILED
    for code in MCPErrorCode:
        assert code > 1000 or code < 0


@pytest.mark.parametrize("code", list(MCPErrorCode))
def test_a_code_may_be_said(code: MCPErrorCode) -> None:
    assert MCPError("x", error_code=code).error_code is code
    assert MCPError("x", error_code=int(code)).error_code is code
    assert ToolError("x", error_code=code).error_code is code


def test_a_code_of_somebody_elses_stays_what_it_is() -> None:
    error = MCPError("x", error_code=4711)
    assert error.error_code == 4711 and type(error.error_code) is int and "4711" in repr(error)


def test_what_can_only_be_named_is_a_keyword() -> None:
    with pytest.raises(TypeError):
        MCPError("x", MCPErrorCode.TOOL_ERROR)  # type: ignore[misc]


def test_a_url_to_visit_is_data_of_the_error() -> None:
    error = URLElicitationRequiredError("sign in", [("please", "https://host/", "e1")])
    assert isinstance(error, RequestError) and error.error_code is MCPErrorCode.URL_ELICITATION_REQUIRED
    assert error.data == {
        "elicitations": [{"mode": "url", "message": "please", "url": "https://host/", "elicitationId": "e1"}]
    }
    with pytest.raises(ValueError, match="at least one"):
        URLElicitationRequiredError("sign in", [])


def test_the_door_has_everything_and_says_so_otherwise() -> None:
    for name in door.__all__:
        assert getattr(door, name).__name__ == name
    with pytest.raises(AttributeError, match="MCPError"):
        _ = door.MCPErrr


@pytest.mark.parametrize("act", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
@pytest.mark.parametrize(("kind", "code"), KINDS)
def test_an_error_can_be_copied_and_sent_to_another_process(kind: type[MCPError], code: Any, act: Any) -> None:
    error = kind("x", data={"a": 1}, retryable=True, retry_after=2.0)
    again = act(error)
    assert type(again) is kind and (again.message, again.data, again.retryable, again.retry_after) == (
        "x",
        {"a": 1},
        True,
        2.0,
    )
    assert again.error_code is code


# The wire


@pytest.mark.parametrize(("kind", "code"), KINDS)
def test_a_client_raises_what_the_tool_raised(kind: type[MCPError], code: MCPErrorCode) -> None:
    error = kind("x", data={"k": [1]}, retryable=True, retry_after=1.5)
    members = json.loads(json.dumps(to_wire(error)))
    again = from_wire("x", ErrorCode.INTERNAL_ERROR, members)
    assert type(again) is kind and again.error_code is code
    assert (again.message, again.data, again.retryable, again.retry_after) == ("x", {"k": [1]}, True, 1.5)


def test_only_what_there_is_travels() -> None:
    assert to_wire(MCPError("x")) == {"code": -32603, "retryable": False}
    assert to_wire(RateLimitError("x", retry_after=1.0)) == {"code": 1011, "retryable": False, "retryAfter": 1.0}


@given(
    st.one_of(st.none(), st.integers(), st.text(), st.lists(st.integers()), st.dictionaries(st.text(), st.integers())),
    st.integers(-(2**31), 2**31),
)
def test_whatever_a_peer_sends_becomes_an_error(members: Any, code: int) -> None:
    error = from_wire("x", code, members, members)
    assert isinstance(error, MCPError) and error.message == "x"
    if not isinstance(members, dict):
        assert error.error_code == code and error.data == members


@pytest.mark.parametrize("code", [True, 1.5, "1002", None, [1002]])
def test_a_code_that_is_none_is_not_heeded(code: Any) -> None:
    assert from_wire("x", -32603, {"code": code}).error_code is MCPErrorCode.INTERNAL_ERROR


@pytest.mark.parametrize("after", ["soon", None, [1], {"s": 1}])
def test_a_time_that_is_none_is_not_heeded(after: Any) -> None:
    assert from_wire("x", 1011, {"code": 1011, "retryAfter": after}).retry_after is None


@pytest.mark.parametrize("retryable", [1, "true", None, "yes"])
def test_only_true_is_true(retryable: Any) -> None:
    assert from_wire("x", 1011, {"code": 1011, "retryable": retryable}).retryable is False


def test_an_error_of_the_protocol_goes_as_it_is_and_one_of_ours_as_an_internal_one() -> None:
    assert wire_error(RequestError("x", error_code=MCPErrorCode.INVALID_PARAMS)).code == -32602
    assert wire_error(MCPError("x", error_code=MCPErrorCode.RESOURCE_NOT_FOUND)).code == -32002
    ours = wire_error(RateLimitError("x", retry_after=3.0))
    assert ours.code == ErrorCode.INTERNAL_ERROR
    assert isinstance(ours.data, dict) and ours.data["code"] == 1011 and ours.data["retryAfter"] == 3.0


# What clients find


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthenticationError),
        (403, AuthorizationError),
        (429, RateLimitError),
        (500, TransportError),
        (502, TransportError),
    ],
)
def test_a_status_of_http_is_an_error_of_its_kind(status: int, kind: type[MCPError]) -> None:
    error = found_here(ErrorObject(-32603, "HTTP", {"status": status, "retryable": status == 502, "retry_after": 2.0}))
    assert type(error) is kind and error.retryable is (status == 502) and error.retry_after == 2.0


def test_what_a_server_answered_under_429_is_a_rate_limit() -> None:
    error = answered(ErrorObject(-32603, "too many", {"status": 429, "retry_after": 1.0}))
    assert type(error) is RateLimitError and error.retry_after == 1.0
    assert type(answered(ErrorObject(-32602, "bad", {"status": 400}))) is MCPError


def test_a_lost_connection_says_whether_the_call_may_have_been_run() -> None:
    unsent = found_here(ErrorObject(-32603, "could not be sent", {"retryable": True}))
    assert type(unsent) is ConnectionError and unsent.retryable
    sent = found_here(ErrorObject(-32603, "lost", {"was_sent": True}))
    assert type(sent) is ConnectionError and not sent.retryable
    assert type(found_here(ErrorObject(-32603, "x"))) is MCPError


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (None, ConnectionError),
        (ErrorObject(-32603, "x"), ConnectionError),
        (ErrorObject(-32022, "x", {"supported": []}), MCPError),
        (ErrorObject(-32603, "x", {"status": 401}), AuthenticationError),
        (ErrorObject(-32603, "x", {"status": 403}), AuthorizationError),
        (ErrorObject(-32603, "x", {"status": 429}), RateLimitError),
    ],
)
def test_everybody_who_waits_learns_why_the_connection_is_over(error: Any, kind: type[MCPError]) -> None:
    lost = connection_lost(error, "gone")
    assert type(lost) is kind
    if kind is MCPError:
        assert lost.error_code is MCPErrorCode.UNSUPPORTED_VERSION


def test_the_end_of_a_subscription_is_ours_or_the_servers() -> None:
    assert type(ended(ErrorObject(-32603, "x", {"was_sent": True}))) is ConnectionError
    theirs = ended(ErrorObject(-32602, "x", {"code": 1011}))
    assert theirs.error_code is MCPErrorCode.INVALID_PARAMS
