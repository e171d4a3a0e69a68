"""The task table and both ways to speak of a task."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from protocol.capabilities import ClientCapabilities, ServerCapabilities
from protocol.errors import ErrorCode, ErrorObject, LocalProtocolError, RemoteProtocolError
from protocol.events import Context
from protocol.events import InputRequest as Question
from protocol.methods import TASKS_EXTENSION
from protocol.model import decode, encode
from protocol.params import ElicitParams
from protocol.results import CreateTaskResult
from protocol.tasks import (
    TERMINAL,
    TRANSITIONS,
    Dialect,
    Holder,
    TaskRecord,
    TaskTable,
    core_view,
    created_task,
    dialect_of,
    extension_view,
    read_inputs,
    related_meta,
    related_task,
    stamp,
    with_related,
)
from protocol.types import DetailedTask, InputRequest, Task, TaskStatus
from tests.pair import HANDSHAKES, R2025_11, R2026
from tests.requirements import rule

ANN = Holder("ann", Dialect.CORE)
BOB = Holder("bob", Dialect.CORE)
ASKED = InputRequest(method="elicitation/create", params=Raw(b'{"message":"name?"}'))
RESULT = Raw(b'{"content":[]}')
FAULT = ErrorObject(-32603, "broken", {"why": 1})


def numbered() -> Callable[[], str]:
    serial = count(1)
    return lambda: f"task-{next(serial)}"


@pytest.fixture
def table() -> TaskTable:
    return TaskTable(numbered(), limit=5, holder_limit=4, page_size=2)


def wire(value: Any) -> Any:
    return msgspec.json.decode(encode(value))


# The table of statuses


def test_every_status_has_a_row_and_every_row_leads_to_statuses() -> None:
    statuses = set(get_args(TaskStatus))
    assert TRANSITIONS.keys() == statuses
    assert frozenset().union(*TRANSITIONS.values()) == statuses
    assert TERMINAL == {"completed", "failed", "cancelled"}


@rule(189)
@pytest.mark.parametrize("before", sorted(TRANSITIONS))
@pytest.mark.parametrize("act", ["ask", "update", "withdraw", "complete", "fail", "cancel"])
def test_a_task_goes_only_where_its_row_leads(table: TaskTable, before: TaskStatus, act: str) -> None:
    record = table.create(ANN, 1.0)
    if before == "input_required":
        table.ask(record, {"first": ASKED}, 2.0)
    elif before == "completed":
        table.settle(record, 2.0, result=RESULT)
    elif before == "failed":
        table.settle(record, 2.0, error=FAULT)
    elif before == "cancelled":
        table.cancel(record, 2.0)
    assert record.status == before

    refused = False
    try:
        if act == "ask":
            table.ask(record, {"second": ASKED}, 3.0)
        elif act == "update":
            table.update(record, {"first": RESULT}, 3.0)
        elif act == "withdraw":
            table.withdraw(record, ["first"], 3.0)
        elif act == "complete":
            refused = not table.settle(record, 3.0, result=RESULT)
        elif act == "fail":
            refused = not table.settle(record, 3.0, error=FAULT)
        else:
            refused = not table.cancel(record, 3.0)
    except LocalProtocolError:
        refused = True

    assert record.status == before or record.status in TRANSITIONS[before]
    if before in TERMINAL:
        assert record.status == before
        assert record.updated == 2.0
        assert refused or act in ("update", "withdraw")


@rule(187)
def test_a_task_begins_working_and_is_found_at_once(table: TaskTable) -> None:
    record = table.create(ANN, 10.0, ttl=60.0, poll_interval=0.5)
    assert table.get("task-1", ANN, 10.0) is record
    assert wire(CreateTaskResult(task=core_view(record))) == {
        "task": {
            "taskId": "task-1",
            "status": "working",
            "createdAt": "1970-01-01T00:00:10.000Z",
            "lastUpdatedAt": "1970-01-01T00:00:10.000Z",
            "ttl": 60_000,
            "pollInterval": 500,
        }
    }


def test_a_task_without_limits_says_so(table: TaskTable) -> None:
    record = table.create(ANN, 0.0)
    assert wire(core_view(record))["ttl"] is None
    assert "pollInterval" not in wire(core_view(record))
    view = wire(extension_view(record))
    assert view["ttlMs"] is None
    assert "pollIntervalMs" not in view
    assert table.next_expiry() is None


def test_an_id_that_is_taken_is_the_minters_fault() -> None:
    table = TaskTable(lambda: "same")
    table.create(ANN, 0.0)
    with pytest.raises(LocalProtocolError):
        table.create(BOB, 0.0)
    assert len(table) == 1


# Whose, how many, how long


@rule(191, 193, 201)
@pytest.mark.parametrize(
    ("task_id", "holder", "now"),
    [
        ("task-9", ANN, 1.0),
        ("task-1", BOB, 1.0),
        ("task-1", Holder(None, Dialect.CORE), 1.0),
        ("task-1", Holder("ann", Dialect.EXTENSION), 1.0),
        ("task-1", ANN, 60.0),
    ],
    ids=["unknown", "another's", "nobody's", "in the other dialect", "expired"],
)
def test_a_task_that_is_not_there_for_the_caller_is_not_found(
    table: TaskTable, task_id: str, holder: Holder, now: float
) -> None:
    table.create(ANN, 0.0, ttl=60.0)
    with pytest.raises(RemoteProtocolError) as refused:
        table.get(task_id, holder, now)
    assert refused.value.error == ErrorObject(ErrorCode.INVALID_PARAMS, "Invalid params: Task not found")


def test_a_subscription_may_know_only_the_holders_tasks(table: TaskTable) -> None:
    table.create(ANN, 0.0)
    assert table.knows("task-1", ANN)
    assert not table.knows("task-1", BOB)
    assert not table.knows("task-2", ANN)


def test_one_holder_cannot_take_all_the_room_and_none_is_forgotten_for_another(table: TaskTable) -> None:
    kept = [table.create(ANN, 0.0) for _ in range(4)]
    table.settle(kept[0], 1.0, result=RESULT)
    for holder in (ANN, BOB):
        with pytest.raises(RemoteProtocolError) as refused:
            table.create(holder, 1.0)
            table.create(holder, 1.0)
        assert refused.value.error.code == ErrorCode.OVERLOADED
        assert refused.value.error.data == {"retryable": True, "limit": 5 if holder is BOB else 4}
    assert all(table.get(record.task_id, ANN, 2.0) is record for record in kept)


@rule(197)
def test_a_task_lives_as_long_as_was_promised_and_no_longer(table: TaskTable) -> None:
    short, long = table.create(ANN, 0.0, ttl=10.0), table.create(ANN, 0.0, ttl=20.0)
    assert table.next_expiry() == 10.0
    assert table.expire(9.999) == []
    assert table.get(short.task_id, ANN, 9.999) is short
    assert table.expire(10.0) == [short]
    assert table.expire(10.0) == []
    assert len(table) == 1
    assert not table.knows(short.task_id, ANN)
    assert table.next_expiry() == 20.0
    assert table.expire(99.0) == [long]
    assert len(table) == 0


# Pages


@rule(193)
def test_a_list_holds_the_holders_tasks_in_order_page_by_page(table: TaskTable) -> None:
    mine = [table.create(ANN, 0.0, ttl=None if index else 5.0) for index in range(4)]
    table.create(BOB, 0.0)
    first, cursor = table.page(ANN, 1.0)
    assert first == mine[:2]
    assert cursor is not None
    assert table.page(ANN, 1.0, cursor) == (mine[2:], None)
    assert table.page(ANN, 6.0) == (mine[1:3], table.page(ANN, 6.0)[1])  # what expired is not listed
    assert table.page(Holder("eve", Dialect.CORE), 1.0) == ([], None)


@rule(191)
@pytest.mark.parametrize("cursor", ["", "x", "dGFzazox=", "dGFzazp4", "MQ==", "é", "dGFzazowMQ=="])
def test_a_cursor_that_is_not_ours_is_refused(table: TaskTable, cursor: str) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        table.page(ANN, 0.0, cursor)
    assert refused.value.error == ErrorObject(ErrorCode.INVALID_PARAMS, "Invalid params: cursor")


# The end


@rule(189)
def test_what_was_cancelled_stays_so_although_the_work_went_on(table: TaskTable) -> None:
    record = table.create(ANN, 0.0)
    assert table.cancel(record, 1.0, "enough")
    assert not table.settle(record, 2.0, result=RESULT)
    assert not table.cancel(record, 2.0)
    assert not table.note(record, "still here", 2.0)
    assert (record.status, record.message, record.result, record.updated) == ("cancelled", "enough", None, 1.0)


@pytest.mark.parametrize("outcome", [{}, {"result": RESULT, "error": FAULT}])
def test_a_task_ends_with_one_outcome(table: TaskTable, outcome: dict[str, Any]) -> None:
    record = table.create(ANN, 0.0)
    with pytest.raises(LocalProtocolError):
        table.settle(record, 1.0, **outcome)
    assert record.status == "working"


@rule(199)
def test_a_tool_that_failed_is_failed_in_the_core_and_completed_in_the_extension(table: TaskTable) -> None:
    record = table.create(ANN, 0.0)
    failed = Raw(b'{"content":[],"isError":true}')
    table.settle(record, 1.0, result=failed, is_error=True, message="no luck")
    assert wire(core_view(record))["status"] == "failed"
    assert wire(core_view(record))["statusMessage"] == "no luck"
    view = wire(extension_view(record))
    assert view["status"] == "completed"
    assert view["result"] == {"content": [], "isError": True}
    assert "error" not in view


@rule(199)
def test_an_error_is_failed_in_both_dialects_and_stands_in_the_extensions_task(table: TaskTable) -> None:
    record = table.create(ANN, 0.0)
    table.settle(record, 1.0, error=FAULT, message="broken")
    assert wire(core_view(record))["status"] == "failed"
    view = wire(extension_view(record))
    assert view["status"] == "failed"
    assert view["error"] == {"code": -32603, "message": "broken", "data": {"why": 1}}
    assert "result" not in view


# Questions


@rule(198, 200)
def test_questions_stand_in_the_task_until_the_last_is_answered(table: TaskTable) -> None:
    record = table.create(ANN, 0.0)
    table.ask(record, {"a": ASKED}, 1.0)
    table.ask(record, {"b": ASKED}, 2.0)
    assert wire(core_view(record))["status"] == "input_required"
    view = wire(extension_view(record))
    assert view["status"] == "input_required"
    asked = {"method": "elicitation/create", "params": {"message": "name?"}}
    assert view["inputRequests"] == {"a": asked, "b": asked}

    answers = {"a": Raw(b"1"), "never asked": Raw(b"2")}
    assert table.update(record, answers, 3.0) == {"a": Raw(b"1")}
    assert wire(extension_view(record))["inputRequests"].keys() == {"b"}
    assert record.status == "input_required"

    assert table.update(record, answers, 4.0) == {}
    assert record.updated == 3.0
    assert table.update(record, {"b": Raw(b"3")}, 5.0) == {"b": Raw(b"3")}
    assert core_view(record).status == "working"
    assert "inputRequests" not in wire(extension_view(record))


@rule(200)
def test_a_key_is_never_used_twice(table: TaskTable) -> None:
    record = table.create(ANN, 0.0)
    assert table.free_key(record, "a") == "a"
    table.ask(record, {"a": ASKED}, 1.0)
    table.update(record, {"a": RESULT}, 2.0)
    with pytest.raises(LocalProtocolError, match="'a'"):
        table.ask(record, {"a": ASKED, "b": ASKED}, 3.0)
    assert record.status == "working"
    assert table.free_key(record, "a") == "a-2"
    table.ask(record, {"a-2": ASKED}, 3.0)
    assert table.free_key(record, "a") == "a-3"


def test_nothing_cannot_be_asked(table: TaskTable) -> None:
    record = table.create(ANN, 0.0)
    with pytest.raises(LocalProtocolError):
        table.ask(record, {}, 1.0)


def test_a_question_nobody_needs_any_more_is_withdrawn(table: TaskTable) -> None:
    record = table.create(ANN, 0.0)
    table.ask(record, {"a": ASKED, "b": ASKED}, 1.0)
    table.withdraw(record, ["a", "other"], 2.0)
    assert record.inputs.keys() == {"b"}
    table.withdraw(record, ["b"], 3.0)
    assert record.status == "working"
    table.withdraw(record, ["b"], 4.0)
    assert record.updated == 3.0


def test_the_end_takes_the_questions_along(table: TaskTable) -> None:
    record = table.create(ANN, 0.0)
    table.ask(record, {"a": ASKED}, 1.0)
    table.cancel(record, 2.0)
    assert "inputRequests" not in wire(extension_view(record))


def test_a_note_says_how_the_work_gets_on_until_the_end_has_its_own_word(table: TaskTable) -> None:
    record = table.create(ANN, 0.0)
    assert table.note(record, "half way", 1.0)
    assert wire(core_view(record))["statusMessage"] == wire(extension_view(record))["statusMessage"] == "half way"
    table.settle(record, 2.0, result=RESULT)
    assert "statusMessage" not in wire(extension_view(record))


# Views


@rule(195)
def test_the_dialects_use_their_own_names_only(table: TaskTable) -> None:
    record = table.create(ANN, 0.0, ttl=1.5, poll_interval=0.25)
    common = {"taskId", "status", "createdAt", "lastUpdatedAt"}
    assert wire(core_view(record)).keys() == common | {"ttl", "pollInterval"}
    assert wire(extension_view(record)).keys() == common | {"ttlMs", "pollIntervalMs"}
    assert isinstance(core_view(record), Task)
    assert isinstance(extension_view(record), DetailedTask)


@given(st.datetimes(min_value=datetime(1600, 1, 1), max_value=datetime(9999, 12, 31, 23, 59, 59)))
def test_a_stamp_is_the_iso_text_of_its_moment(moment: datetime) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1)
    assert stamp(seconds) == moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# Which dialect


def offering(**members: Any) -> ServerCapabilities:
    return decode(encode(members), ServerCapabilities)


CORE_OFFER = offering(tasks={"requests": {"tools": {"call": {}}}})
EXTENSION_OFFER = offering(extensions={TASKS_EXTENSION: {}})
DECLARED = ClientCapabilities(extensions={TASKS_EXTENSION: {}})


@rule(186, 202)
@pytest.mark.parametrize("declared", [ClientCapabilities(), DECLARED], ids=["silent", "declared"])
@pytest.mark.parametrize(
    "offer", [CORE_OFFER, EXTENSION_OFFER, ServerCapabilities()], ids=["core", "extension", "none"]
)
def test_a_dialect_is_spoken_where_both_sides_know_it(offer: ServerCapabilities, declared: ClientCapabilities) -> None:
    for revision in HANDSHAKES:
        is_core = revision is R2025_11 and offer is CORE_OFFER
        context = Context(revision=revision, capabilities=declared)
        assert dialect_of(context, offer) is (Dialect.CORE if is_core else None)
    is_extension = offer is EXTENSION_OFFER and declared is DECLARED
    context = Context(revision=R2026, capabilities=declared)
    assert dialect_of(context, offer) is (Dialect.EXTENSION if is_extension else None)


# Reading and tagging


@rule(187)
def test_a_created_task_is_told_from_an_ordinary_result(table: TaskTable) -> None:
    record = table.create(ANN, 0.0)
    task = created_task(Raw(encode(CreateTaskResult(task=core_view(record)))))
    assert task is not None
    assert task.task_id == record.task_id
    assert created_task(RESULT) is None


def detailed(requests: Any) -> DetailedTask:
    members = {"taskId": "t", "status": "input_required", "createdAt": "", "lastUpdatedAt": "", "ttlMs": None}
    return decode(encode(members | ({} if requests is None else {"inputRequests": requests})), DetailedTask)


def test_what_a_task_asks_is_read_like_a_request_of_its_own() -> None:
    asked = {"a": {"method": "elicitation/create", "params": {"message": "?"}}, "b": {"method": "roots/list"}}
    questions = read_inputs(detailed(asked))
    assert questions["a"] == Question("elicitation/create", ElicitParams(message="?"))
    assert questions["b"].method == "roots/list"
    assert read_inputs(detailed(None)) == {}


@pytest.mark.parametrize(
    "entry", [{"method": "tools/call"}, {"method": "no/such"}, {"method": "elicitation/create", "params": {}}]
)
def test_what_cannot_be_asked_is_an_invalid_response(entry: Any) -> None:
    with pytest.raises(RemoteProtocolError, match="invalid response: input request 'k'"):
        read_inputs(detailed({"k": entry}))


@rule(192)
@pytest.mark.parametrize(
    ("meta", "task_id"),
    [
        (UNSET, None),
        (Raw(b"{}"), None),
        (Raw(encode(related_meta("t"))), "t"),
        (Raw(b'{"io.modelcontextprotocol/related-task":7}'), None),
    ],
)
def test_the_task_a_message_belongs_to_is_read_from_its_meta(meta: Any, task_id: str | None) -> None:
    assert related_task(meta) == task_id


@rule(190, 192)
def test_a_tag_changes_nothing_else_of_a_result() -> None:
    tagged = bytes(with_related(Raw(b'{"big":123456789012345678901234567890,"_meta":{"a":1.50}}'), "t"))
    assert b"123456789012345678901234567890" in tagged
    assert b'"io.modelcontextprotocol/related-task":{"taskId":"t"}' in tagged
    assert b'"a":1.5' in tagged
    assert msgspec.json.decode(with_related(Raw(b'{"_meta":null}'), "t")) == {"_meta": related_meta("t")}
    assert msgspec.json.decode(with_related(Raw(b"{}"), "t")) == {"_meta": related_meta("t")}


def test_records_do_not_share_what_they_gather(table: TaskTable) -> None:
    one, two = table.create(ANN, 0.0), table.create(ANN, 0.0)
    table.ask(one, {"a": ASKED}, 1.0)
    assert two.inputs == {}
    assert two.issued == set()
    assert isinstance(one, TaskRecord)
