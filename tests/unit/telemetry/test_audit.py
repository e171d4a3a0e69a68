"""The audit log: what it says, where it goes, and that nothing it does or fails to do concerns a request."""

import json
import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kailash.telemetry import AuditLog, Outcome

FIELDS = ["time", "principal", "method", "name", "outcome", "reason", "latency_ms", "request_id", "transport"]


def write(audit: AuditLog, **given: Any) -> None:
    record: dict[str, Any] = {
        "principal": "alice",
        "method": "tools/call",
        "name": "search",
        "outcome": Outcome.OK,
        "reason": None,
        "seconds": 0.001_234_5,
        "request_id": 7,
        "transport": "http",
    }
    audit.write(**{**record, **given})


def test_a_record_has_these_fields_in_this_order() -> None:
    seen: list[dict[str, Any]] = []
    write(AuditLog(seen.append, clock=lambda: 0.0), outcome=Outcome.REFUSED, reason="rate_limited")
    values = ["alice", "tools/call", "search", "refused", "rate_limited", 1.234, 7, "http"]
    assert seen == [dict(zip(FIELDS, ["1970-01-01T00:00:00.000Z", *values], strict=True))]
    assert list(seen[0]) == FIELDS


def test_the_logger_gets_granted_and_refused(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("kailash.audit").setLevel(logging.NOTSET)
    audit = AuditLog()
    write(audit)
    write(audit, outcome=Outcome.REFUSED)
    assert [json.loads(record.getMessage())["outcome"] for record in caplog.records] == ["ok", "refused"]
    assert {record.name for record in caplog.records} == {"kailash.audit"}


def test_a_level_that_the_program_set_is_left_alone() -> None:
    target = logging.getLogger("kailash.audit")
    target.setLevel(logging.ERROR)
    try:
        AuditLog()
        assert target.level == logging.ERROR
    finally:
        target.setLevel(logging.NOTSET)


@given(st.text(st.characters(codec=None), max_size=300), st.one_of(st.text(max_size=300), st.integers(), st.none()))
def test_whatever_is_in_it_a_record_is_one_printable_line(text: str, request_id: Any) -> None:
    lines: list[str] = []
    target = logging.getLogger("kailash.audit")
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    target.addHandler(handler)
    try:
        audit = AuditLog()
        write(audit, principal=text, name=text, reason=text, method=text, transport=text, request_id=request_id)
    finally:
        target.removeHandler(handler)
    (line,) = lines
    assert all(" " <= letter <= "~" for letter in line)
    assert len(line) < 16_000
    record = json.loads(line)
    assert all(len(record[name]) <= 200 for name in ("principal", "name", "reason", "method", "transport"))


def test_a_huge_id_is_cut() -> None:
    audit = AuditLog(lambda _: None)
    write(audit, request_id=10**400)
    write(audit, request_id="x" * 10_000)
    assert all(len(str(each["request_id"])) <= 200 for each in audit.entries())


def test_the_last_records_are_remembered_and_no_more() -> None:
    audit = AuditLog(lambda _: None, keep=5)
    for number in range(9):
        write(audit, request_id=number, principal="bob" if number % 2 else "alice")
    assert [each["request_id"] for each in audit.entries()] == [4, 5, 6, 7, 8]
    assert [each["request_id"] for each in audit.entries(limit=2)] == [7, 8]
    assert audit.entries(limit=0) == []
    assert [each["request_id"] for each in audit.entries(limit=None, principal="bob")] == [5, 7]
    with pytest.raises(ValueError, match="limit"):
        audit.entries(limit=-1)


def test_what_is_remembered_cannot_be_changed_from_outside() -> None:
    audit = AuditLog(lambda _: None)
    write(audit)
    audit.entries()[0]["principal"] = "mallory"
    assert audit.entries()[0]["principal"] == "alice"


def test_a_failing_sink_costs_records_and_one_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: dict[str, Any]) -> None:
        raise RuntimeError("no\nroom")

    audit = AuditLog(fail)
    with caplog.at_level(logging.ERROR):
        for _ in range(50):
            write(audit)
    assert [record.getMessage() for record in caplog.records] == [
        "! the audit log failed, 1 records lost: RuntimeError: no\\nroom"
    ]
    assert len(audit.entries()) == 50


def test_sinks_that_cannot_work_are_refused_at_once(tmp_path: Path) -> None:
    async def later(_: dict[str, Any]) -> None: ...

    with pytest.raises(TypeError, match="plain function"):
        AuditLog(later)
    with pytest.raises(TypeError, match="True, a path or a function"):
        AuditLog(7)  # type: ignore[arg-type]
    for name in ("max_bytes", "backups", "keep"):
        with pytest.raises(ValueError, match=name):
            AuditLog(tmp_path / "x", **{name: 0})


# Files


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def everything(path: Path) -> list[int]:
    files = [file for file in path.parent.iterdir() if file.name.startswith(path.name) and file.suffix != ".lock"]
    return sorted(record["request_id"] for file in files for record in lines_of(file))


def test_a_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.touch(0o666)
    path.chmod(0o666)
    audit = AuditLog(path, max_bytes=400, backups=2)
    for number in range(9):
        write(audit, request_id=number)
    audit.close()
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}


def test_a_full_file_is_set_aside_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    audit = AuditLog(path, max_bytes=500, backups=2)
    for number in range(12):
        write(audit, request_id=number)
    audit.close()
    kept = everything(path)
    assert kept == list(range(kept[0], 12))
    assert {file.name for file in tmp_path.iterdir()} == {"audit.log", "audit.log.1", "audit.log.2", "audit.log.lock"}
    assert all(file.stat().st_size <= 500 for file in tmp_path.iterdir())
    assert lines_of(path)[-1]["request_id"] == 11


def test_a_file_that_cannot_be_written_breaks_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    audit = AuditLog(tmp_path / "missing" / "audit.log")
    write(audit)
    assert len(caplog.records) == 1
    (tmp_path / "missing").mkdir()
    write(audit, request_id=8)
    audit.close()
    assert everything(tmp_path / "missing" / "audit.log") == [8]


def test_several_processes_and_threads_lose_no_line_while_files_change(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    audit = AuditLog(path, max_bytes=4000, backups=200)
    write(audit, request_id=-1)  # the file is open before the fork, as it may be in a supervisor
    pids = []
    for process in range(3):
        pid = os.fork()
        if pid == 0:
            try:
                for number in range(150):
                    write(audit, request_id=process * 1000 + number)
            finally:
                os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    threads = [
        threading.Thread(target=lambda at=at: [write(audit, request_id=at + number) for number in range(50)])
        for at in (5000, 6000)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    audit.close()
    starts = [(at, 150) for at in (0, 1000, 2000)] + [(at, 50) for at in (5000, 6000)]
    assert everything(path) == [-1, *(at + number for at, count in starts for number in range(count))]
