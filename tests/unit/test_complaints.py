"""What a client makes of an error that names no request: the server could not read something, or wants nobody."""

from __future__ import annotations

import pytest

from protocol import Closed, Failure, Revision, Violation
from tests.pair import R2025_11, R2026, client

from .clientwire import ALL, ask

FULL = {"jsonrpc": "2.0", "error": {"code": 1503, "message": "too many connections"}}


@ALL
def test_it_ends_the_one_call_that_is_open(revision: Revision) -> None:
    talk = client(revision)
    call, _ = ask(talk)
    talk.say_quietly(FULL)
    failure = talk.take(Failure)
    assert failure.call is call and failure.error.message == "too many connections" and not failure.is_local


def test_of_several_calls_it_ends_none() -> None:
    talk = client(R2026)
    ask(talk)
    ask(talk)
    talk.say_quietly(FULL)
    talk.take(Violation)
    assert len(talk.engine.open_calls) == 2


@pytest.mark.parametrize("revision", [R2025_11, R2026])
def test_before_any_call_it_is_why_the_connection_ends(revision: Revision) -> None:
    talk = client(revision)
    talk.say_quietly(FULL)
    talk.engine.receive_eof()
    error = talk.take(Closed).error
    assert error is not None and error.message == "too many connections"


def test_one_that_cannot_be_read_is_nothing() -> None:
    talk = client(R2026)
    talk.say_quietly({"jsonrpc": "2.0", "error": {"code": "x"}})
    talk.engine.receive_eof()
    assert talk.take(Closed).error is None
