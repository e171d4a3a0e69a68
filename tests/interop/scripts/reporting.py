"""What the foreign clients share: each step's result or error goes into one report, printed as JSON at the end.

Imported by scripts that run under the peer's interpreter, so it knows nothing of ours.
"""

import json
import sys
from collections.abc import Awaitable
from typing import Any

import anyio

STEP_SECONDS = 20.0


class Report:
    """Collects what each step gave."""

    def __init__(self) -> None:
        self.steps: dict[str, Any] = {}

    async def step(self, name: str, awaitable: Awaitable[Any]) -> Any:
        """Run one step; an error of the protocol is a result like any other."""
        try:
            with anyio.fail_after(STEP_SECONDS):
                value = await awaitable
        except Exception as error:
            self.steps[name] = describe(error)
            return None
        self.steps[name] = plain(value)
        return value

    def note(self, name: str, value: Any) -> None:
        """Write down something that is no step."""
        self.steps[name] = plain(value)

    def print(self) -> None:
        """Hand the report over."""
        json.dump(self.steps, sys.stdout)
        sys.stdout.flush()


class Heard:
    """Notifications as they come, and a way to wait for one."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._arrived = anyio.Event()

    def add(self, item: Any) -> None:
        """Take one."""
        self.items.append(plain(item))
        self._arrived.set()
        self._arrived = anyio.Event()

    async def until(self, wanted: Any) -> list[Any]:
        """Wait until `wanted(items)` holds, and return all there is."""
        while not wanted(self.items):
            await self._arrived.wait()
        return list(self.items)


def plain(value: Any) -> Any:
    """Turn models into what was on the wire."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def describe(error: BaseException) -> dict[str, Any]:
    """Turn an error into its code and message; whatever is no protocol error keeps its class's name."""
    detail = getattr(error, "error", None)
    if detail is None or not hasattr(detail, "code"):
        return {"raised": type(error).__name__, "message": str(error)}
    return {"code": detail.code, "message": detail.message, "data": plain(detail.data)}
