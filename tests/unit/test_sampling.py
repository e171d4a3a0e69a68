"""The tool loop of sampling: every tool use is answered at once, by a user message that holds nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import SamplingMessage, TextContent, ToolResultContent, ToolUseContent
from protocol.sampling import check_sampling_messages
from tests.requirements import rule

WORDS = TextContent(text="x")


def use(id_: str) -> ToolUseContent:
    return ToolUseContent(id=id_, name="t", input={})


def answer(id_: str) -> ToolResultContent:
    return ToolResultContent(tool_use_id=id_, content=[])


def user(*blocks: Any) -> SamplingMessage:
    return SamplingMessage(role="user", content=list(blocks))


def assistant(*blocks: Any) -> SamplingMessage:
    return SamplingMessage(role="assistant", content=list(blocks))


@rule(160)
@pytest.mark.parametrize(
    ("messages", "is_good"),
    [
        ([], True),
        ([SamplingMessage(role="user", content=WORDS), assistant(WORDS)], True),
        ([user(WORDS), assistant(WORDS, use("a"), use("b")), user(answer("b"), answer("a")), assistant(WORDS)], True),
        (
            [
                assistant(use("a")),
                SamplingMessage(role="user", content=answer("a")),
                assistant(use("a")),
                user(answer("a")),
            ],
            True,
        ),
        ([assistant(use("a")), user(answer("a"), WORDS)], False),
        ([assistant(use("a")), assistant(answer("a"))], False),
        ([assistant(use("a"), use("b")), user(answer("a"))], False),
        ([assistant(use("a")), user(answer("a"), answer("a"))], False),
        ([assistant(use("a")), user(answer("b"))], False),
        ([assistant(use("a")), user(WORDS), user(answer("a"))], False),
        ([user(answer("a"))], False),
        ([user(use("a")), user(answer("a"))], False),
        ([assistant(use("a"))], False),
    ],
)
def test_tool_uses_and_results_are_in_balance(messages: list[SamplingMessage], is_good: bool) -> None:
    found = check_sampling_messages(messages)
    assert (found is None) is is_good
    assert found is None or found.startswith(("message ", "no results"))
