"""The five revisions as data: what each adds to and takes from the one before."""

from __future__ import annotations

import pytest

from protocol import (
    ENVELOPE_REVISIONS,
    HANDSHAKE_REVISIONS,
    LATEST,
    LATEST_HANDSHAKE,
    REVISIONS,
    CallToolResult,
    Era,
    ErrorCode,
    Fault,
    Tool,
    find_revision,
)
from protocol.revisions import select
from tests.pair import R2024, R2025_03, R2025_06, R2025_11, R2026
from tests.requirements import rule


def test_revisions_are_found_by_name() -> None:
    assert [revision.name for revision in REVISIONS] == [
        "2024-11-05",
        "2025-03-26",
        "2025-06-18",
        "2025-11-25",
        "2026-07-28",
    ]
    assert all(find_revision(revision.name) is revision for revision in REVISIONS)
    assert find_revision("1999-01-01") is None
    assert ENVELOPE_REVISIONS == (R2026,) and HANDSHAKE_REVISIONS == REVISIONS[:-1]
    assert (LATEST, LATEST_HANDSHAKE) == (R2026, R2025_11)


@rule(14, 15)
def test_what_distinguishes_them() -> None:
    def with_(flag: str) -> list[object]:
        return [revision for revision in REVISIONS if getattr(revision, flag)]

    assert with_("batching") == [R2025_03]
    assert with_("session_ids") == with_("resumable") == [R2025_03, R2025_06, R2025_11]
    assert with_("version_header") == [R2025_06, R2025_11, R2026]
    assert with_("primes_streams") == with_("elicitation_ids") == with_("task_params") == [R2025_11]
    assert with_("tool_error_results") == [R2025_11, R2026]
    assert with_("result_types") == [R2026]
    # A code is sent only where it is defined.
    assert [r for r in REVISIONS if -32042 not in r.forbidden_codes] == [R2025_11]
    assert [r for r in REVISIONS if -32021 not in r.forbidden_codes] == [R2026]
    assert [r for r in REVISIONS if -32002 in r.forbidden_codes] == [R2026]
    assert with_("error_ids_required") == [R2024, R2025_03, R2025_06]
    not_found = [revision.fault_codes[Fault.RESOURCE_NOT_FOUND] for revision in REVISIONS]
    assert not_found == [ErrorCode.RESOURCE_NOT_FOUND] * 4 + [ErrorCode.INVALID_PARAMS]
    kept = {ErrorCode.HEADER_MISMATCH, ErrorCode.MISSING_CLIENT_CAPABILITY, ErrorCode.UNSUPPORTED_VERSION}
    assert R2026.forbidden_codes == ({*range(-32099, -32019)} - kept) | {ErrorCode.RESOURCE_NOT_FOUND}


def test_a_method_may_need_another_capability_in_a_revision() -> None:
    assert R2024.capability_of("completion/complete", "completions") is None
    assert R2025_03.capability_of("completion/complete", "completions") == "completions"
    assert R2026.capability_of("tasks/get", "tasks") == "extensions:io.modelcontextprotocol/tasks"


def test_a_revision_differs_from_the_one_it_comes_from() -> None:
    next_one = R2026.evolve("next", add=["a/b"], remove=["tools/call"], batching=True)
    assert next_one.name == "next" and next_one.batching and next_one.era is Era.ENVELOPE
    assert next_one.methods == (R2026.methods | {"a/b"}) - {"tools/call"}
    for wrong in ({"add": ["tools/call"]}, {"remove": ["a/b"]}):
        with pytest.raises(AssertionError):
            R2026.evolve("next", **wrong)


def test_older_revisions_step_further_down() -> None:
    tool = Tool(name="t", input_schema={"type": "object"}, title="T", icons=[], output_schema={"type": "object"})
    written = [revision.downgrades.get(Tool, lambda value: value)(tool) for revision in REVISIONS]
    members = [
        {name for name in ("title", "icons", "output_schema", "annotations") if getattr(each, name)} for each in written
    ]
    assert members == [
        set(),
        {"annotations"},
        {"title", "output_schema"},
        {"title", "output_schema"},
        {"title", "output_schema"},
    ]
    assert CallToolResult in R2024.downgrades and ErrorCode not in R2024.downgrades
    assert [len(revision.downgrades) for revision in REVISIONS] == sorted(
        (len(list(revision.downgrades)) for revision in REVISIONS), reverse=True
    )


def test_revisions_are_selected_by_name() -> None:
    assert select([R2026.name, R2024.name]) == [R2026, R2024]
    for wrong in ([], ["1999-01-01"]):
        with pytest.raises(ValueError, match=R2024.name):
            select(wrong)
