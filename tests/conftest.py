"""What every test shares: how hard hypothesis tries, and the promise that unit tests need no event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.hardening import read_rows, summarise

_COMMON: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("ci", max_examples=200, derandomize=True, database=None, **_COMMON)
settings.register_profile("fuzz", max_examples=2000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

_UNIT = Path(__file__).parent / "unit"
_WITH_LOOPS = (_UNIT / "mcp_server", _UNIT / "test_benchmarks.py")


@pytest.fixture(autouse=True)
def no_event_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a unit test that creates an event loop: what needs one belongs to another folder."""
    here = request.path
    if _UNIT not in here.parents or any(place in (here, *here.parents) for place in _WITH_LOOPS):
        yield
        return
    created: list[str] = []

    class Refused(asyncio.SelectorEventLoop):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            created.append(request.node.nodeid)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(asyncio.DefaultEventLoopPolicy, "_loop_factory", Refused)
    monkeypatch.setattr(asyncio, "SelectorEventLoop", Refused)
    yield
    assert not created, "a unit test created an event loop"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many rules and cases of the hardening list the run has passed."""
    found = {
        outcome: [report.nodeid for report in terminalreporter.stats.get(outcome, ())]
        for outcome in ("passed", "failed", "error")
    }
    line = summarise(found["passed"], found["failed"] + found["error"], read_rows())
    if line is not None:
        terminalreporter.write_line(line)
