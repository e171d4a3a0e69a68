"""The official suite finds nothing wrong with our server and our client, except where the baseline says why.

`python -m conformance.official --details` prints the table.
"""

from contextlib import nullcontext

import pytest

from conformance.install import Suite, Unavailable, install
from conformance.official import LEGS, Leg, run_leg, serving

# The first one installs the suite.
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def suite() -> Suite:
    try:
        return install()
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("leg", LEGS, ids=str)
def test_every_scenario_passes_that_is_not_excused(suite: Suite, leg: Leg) -> None:
    with serving() if leg.side == "server" else nullcontext() as url:
        report = run_leg(suite, leg, url=url)
    assert not report.complaints, "\n".join(report.complaints)
    passed = {outcome.scenario for outcome in report.outcomes if outcome.verdict == "PASS"}
    assert len(passed) >= FLOORS[leg.side, leg.requirements], "far fewer scenarios ran than before"


FLOORS = {
    ("server", "2025-11-25"): 33,
    ("server", "2026-07-28"): 49,
    ("server", None): 61,
    ("client", "2025-11-25"): 5,
    ("client", "2026-07-28"): 8,
    ("client", None): 11,
}
"""How many scenarios of each leg pass: an empty run is not a good one."""
