"""Every test of a transport runs on each event loop there is."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

_BACKENDS = [
    pytest.param(("asyncio", {}), id="asyncio"),
    pytest.param(("trio", {}), id="trio"),
]
if importlib.util.find_spec("uvloop") is not None:
    _BACKENDS.append(pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"))


@pytest.fixture(params=_BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


LOOPS = [param.id for param in _BACKENDS]
"""The names of the event loops, for tests that start a process on each."""
