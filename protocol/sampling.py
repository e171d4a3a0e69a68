"""The rule of the tool loop in sampling messages: every tool use is answered, at once and by itself."""

from collections.abc import Sequence

from .types import SamplingMessage, ToolResultContent, ToolUseContent

__all__ = ["check_sampling_messages"]


def check_sampling_messages(messages: Sequence[SamplingMessage]) -> str | None:
    """Return what is wrong with a conversation that uses tools, `None` when nothing is.

    "Each assistant message containing tool uses must be followed by a user message that consists entirely of tool
    results, matching every tool use" — client/sampling#tool-use-and-result-balance
    """
    open_uses: set[str] = set()
    for index, message in enumerate(messages):
        blocks = message.content if isinstance(message.content, list) else [message.content]
        results = [block.tool_use_id for block in blocks if isinstance(block, ToolResultContent)]
        if results and (message.role != "user" or len(results) != len(blocks)):
            return f"message {index}: tool results stand alone in a user message"
        if set(results) != open_uses or len(results) != len(open_uses):
            return f"message {index}: tool results must answer exactly {sorted(open_uses)}, not {sorted(results)}"
        open_uses = {block.id for block in blocks if isinstance(block, ToolUseContent)}
        if open_uses and message.role != "assistant":
            return f"message {index}: only the assistant uses tools"
    return None if not open_uses else f"no results for {sorted(open_uses)}"
