"""The soak of `make soak`, cut short: all kinds of clients on all transports, and nothing left of them."""

from __future__ import annotations

import pytest

from tests.soak import soak

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.integration
async def test_the_short_soak_ends_at_rest() -> None:
    report = await soak(5)
    # In so short a time memory has not settled: the bound is that of the long one only there.
    assert not report.check(growth=1.15), str(report)
    assert report.counts["good answered"] > 100
