"""Errors and the HTTP statuses that they travel with."""

from __future__ import annotations

import pytest

from protocol import Era, ErrorCode
from protocol.http import Source, proves_modern, status_of
from protocol.http.status import STATUSES

E, H = Era.ENVELOPE, Era.HANDSHAKE
ENGINE, HANDLER = Source.ENGINE, Source.HANDLER


def test_the_table_has_a_row_for_each_era_and_source() -> None:
    assert set(STATUSES) == {(era, source) for era in Era for source in Source}


@pytest.mark.parametrize(
    ("code", "modern", "modern_handler", "session", "session_handler"),
    [
        (None, 200, 200, 200, 200),
        (ErrorCode.PARSE_ERROR, 400, 200, 400, 200),
        (ErrorCode.INVALID_REQUEST, 400, 200, 400, 200),
        (ErrorCode.METHOD_NOT_FOUND, 404, 404, 200, 200),
        (ErrorCode.INVALID_PARAMS, 400, 200, 200, 200),
        (ErrorCode.INTERNAL_ERROR, 400, 200, 200, 200),
        (ErrorCode.HEADER_MISMATCH, 400, 400, 200, 200),
        (ErrorCode.MISSING_CLIENT_CAPABILITY, 400, 400, 200, 200),
        (ErrorCode.UNSUPPORTED_VERSION, 400, 400, 400, 200),
        (ErrorCode.OVERLOADED, 503, 503, 503, 503),
        (-32002, 400, 200, 200, 200),
        (42, 400, 200, 200, 200),
    ],
)
def test_statuses(code: int | None, modern: int, modern_handler: int, session: int, session_handler: int) -> None:
    assert status_of(code, E, ENGINE) == modern
    assert status_of(code, E, HANDLER) == modern_handler
    assert status_of(code, H, ENGINE) == session
    assert status_of(code, H, HANDLER) == session_handler


def test_a_server_may_want_the_errors_of_its_handlers_otherwise() -> None:
    changes = {ErrorCode.INVALID_PARAMS: 400, 42: 418}
    assert status_of(ErrorCode.INVALID_PARAMS, E, HANDLER, changes) == 400
    assert status_of(42, H, HANDLER, changes) == 418
    assert status_of(ErrorCode.INVALID_PARAMS, H, ENGINE, changes) == 200
    assert status_of(None, E, HANDLER, changes) == 200


def test_only_the_three_codes_of_the_specification_prove_a_modern_server() -> None:
    assert [code for code in ErrorCode if proves_modern(code)] == [
        ErrorCode.HEADER_MISMATCH,
        ErrorCode.MISSING_CLIENT_CAPABILITY,
        ErrorCode.UNSUPPORTED_VERSION,
    ]
    assert not proves_modern(42)
