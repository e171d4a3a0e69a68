"""Attacks run against every front on every event loop that has it."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from tests.transports.conftest import _BACKENDS

from .site import FOREIGN, FRONTS, OWN


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """The event loop, chosen together with the front."""
    return request.param


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give tests `front`, or `own` where the case is our own server's alone, or `foreign` where it is not."""
    fixtures = {"front": FRONTS, "own": OWN, "foreign": FOREIGN}
    name = next((name for name in fixtures if name in metafunc.fixturenames), None)
    if name is None:
        return
    combinations = [
        pytest.param(backend.values[0], front, id=f"{backend.id}-{front}")
        for backend, front in product(_BACKENDS, fixtures[name])
        if not (backend.id == "trio" and front == "uvicorn")
    ]
    metafunc.parametrize(("anyio_backend", name), combinations, indirect=["anyio_backend"])
