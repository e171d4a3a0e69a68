"""The task table against a model: whatever clients and handlers do, and however time passes.

Invariants: ended tasks never change; a holder sees its own living tasks, all of them and no others; a task asks for
input exactly while answers are awaited; no key is used twice; what is kept is bounded.
"""

from __future__ import annotations

from itertools import count
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from msgspec import Raw

from protocol.errors import ErrorCode, ErrorObject, LocalProtocolError, RemoteProtocolError
from protocol.tasks import TERMINAL, TRANSITIONS, Dialect, Holder, TaskRecord, TaskTable, core_view, extension_view
from protocol.types import InputRequest, TaskStatus
from tests import requirements

HOLDERS = [Holder(name, dialect) for name in ("ann", "bob", None) for dialect in Dialect]
ASKED = InputRequest(method="roots/list")
LIMIT, HOLDER_LIMIT = 12, 5

holders = st.sampled_from(HOLDERS)
keys = st.sampled_from("abcd")
seconds = st.integers(0, 20)


class Tasks(RuleBasedStateMachine):
    tasks: Bundle[TaskRecord] = Bundle("tasks")

    def __init__(self) -> None:
        super().__init__()
        serial = count(1)
        self.table = TaskTable(lambda: f"t{next(serial)}", limit=LIMIT, holder_limit=HOLDER_LIMIT, page_size=2)
        self.now = 0.0
        self.alive: dict[str, TaskRecord] = {}
        self.seen: dict[str, TaskStatus] = {}
        self.final: dict[str, Any] = {}
        self.asked: dict[str, set[str]] = {}

    # Clients

    @rule(target=tasks, holder=holders, ttl=st.none() | st.integers(1, 30))
    def create(self, holder: Holder, ttl: int | None) -> Any:
        held = [task for task in self.alive.values() if task.holder == holder]
        try:
            record = self.table.create(holder, self.now, ttl=ttl, poll_interval=1.0)
        except RemoteProtocolError as refused:
            assert refused.error.code == ErrorCode.OVERLOADED
            assert len(self.alive) == LIMIT or len(held) == HOLDER_LIMIT
            return multiple()
        assert record.status == "working"
        self.alive[record.task_id] = record
        self.asked[record.task_id] = set()
        return record

    @rule(record=tasks, holder=holders)
    def get(self, record: TaskRecord, holder: Holder) -> None:
        try:
            assert self.table.get(record.task_id, holder, self.now) is record
            found = True
        except RemoteProtocolError as refused:
            assert refused.error.code == ErrorCode.INVALID_PARAMS
            found = False
        assert found is (record.task_id in self.alive and record.holder == holder)

    @rule(record=tasks)
    def cancel(self, record: TaskRecord) -> None:
        had_ended = record.is_terminal
        assert self.table.cancel(record, self.now) is not had_ended

    @rule(record=tasks, answers=st.sets(keys))
    def update(self, record: TaskRecord, answers: set[str]) -> None:
        awaited = set(record.inputs)
        accepted = self.table.update(record, dict.fromkeys(answers, Raw(b"1")), self.now)
        assert accepted.keys() == awaited & answers
        assert record.inputs.keys() == awaited - answers

    # Handlers

    @rule(record=tasks, wanted=st.sets(keys, min_size=1))
    def ask(self, record: TaskRecord, wanted: set[str]) -> None:
        used, had_ended = self.asked[record.task_id], record.is_terminal
        try:
            self.table.ask(record, dict.fromkeys(wanted, ASKED), self.now)
        except LocalProtocolError:
            assert had_ended or used & wanted
        else:
            assert not had_ended and not used & wanted
            used |= wanted

    @rule(record=tasks, dropped=st.sets(keys))
    def withdraw(self, record: TaskRecord, dropped: set[str]) -> None:
        self.table.withdraw(record, dropped, self.now)
        assert not record.inputs.keys() & dropped

    @rule(record=tasks, outcome=st.sampled_from(["result", "tool error", "error"]))
    def settle(self, record: TaskRecord, outcome: str) -> None:
        had_ended = record.is_terminal
        if outcome == "error":
            settled = self.table.settle(record, self.now, error=ErrorObject(-32603, "broken"))
        else:
            settled = self.table.settle(record, self.now, result=Raw(b"{}"), is_error=outcome == "tool error")
        assert settled is not had_ended
        if settled:
            statuses = {"result": ("completed", "completed"), "tool error": ("failed", "completed")}
            expected = statuses.get(outcome, ("failed", "failed"))
            assert (core_view(record).status, extension_view(record).status) == expected

    @rule(record=tasks)
    def note(self, record: TaskRecord) -> None:
        assert self.table.note(record, "on it", self.now) is not record.is_terminal

    # Time

    @rule(step=seconds)
    def wait(self, step: int) -> None:
        self.now += step
        due = {task.task_id for task in self.alive.values() if task.is_expired(self.now)}
        assert {record.task_id for record in self.table.expire(self.now)} == due
        for task_id in due:
            del self.alive[task_id]

    @rule(record=consumes(tasks))
    def forget(self, record: TaskRecord) -> None:
        """Let fewer tasks be at hand, so that the young ones are met more often."""

    # What always holds

    @invariant()
    def holders_see_their_own(self) -> None:
        for holder in HOLDERS:
            listed: list[TaskRecord] = []
            cursor = None
            while True:
                page, cursor = self.table.page(holder, self.now, cursor)
                listed += page
                if cursor is None:
                    break
                assert len(page) == 2
            assert listed == [task for task in self.alive.values() if task.holder == holder]
            assert all(self.table.knows(task.task_id, holder) for task in listed)
            assert len(listed) <= HOLDER_LIMIT
        assert len(self.table) == len(self.alive) <= LIMIT

    @invariant()
    def statuses_follow_the_table(self) -> None:
        for task_id, record in self.alive.items():
            before = self.seen.get(task_id, "working")
            assert record.status == before or record.status in TRANSITIONS[before]
            self.seen[task_id] = record.status
            assert (record.status == "input_required") is bool(record.inputs)
            assert record.inputs.keys() <= record.issued == self.asked[task_id]

    @invariant()
    def the_ended_never_change(self) -> None:
        for task_id, record in self.alive.items():
            if record.status in TERMINAL:
                assert self.final.setdefault(task_id, extension_view(record)) == extension_view(record)

    @invariant()
    def the_next_expiry_is_the_earliest(self) -> None:
        ends = [task.created + task.ttl for task in self.alive.values() if task.ttl is not None]
        assert self.table.next_expiry() == min(ends, default=None)


@requirements.rule(189, 193, 197, 200)
class TestTasks(Tasks.TestCase):  # type: ignore[valid-type,misc]
    """The machine, run."""
