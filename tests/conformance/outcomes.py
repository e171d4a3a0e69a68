"""Outcomes of a run that never was, for the tests of what is made of them."""

from conformance.check import Check, Outcome, Verdict
from conformance.requirements import revisions

NEWEST = list(revisions())[-1]


def outcomes() -> list[Outcome]:
    """Return a failure and what tested nothing."""
    checks = [Check(128, Verdict.FAIL, "an <unknown> tool \x00", 1), Check(4, Verdict.PASS, "same")]
    return [
        Outcome("unknown-tool", "server", NEWEST, "http", checks, 0.1, ["0.0 > one", "0.1 < <two> \x01"]),
        Outcome("pages", "server", NEWEST, "stdio", [Check(135, Verdict.SKIP, "one page")], 0.1, [], "one page"),
    ]
