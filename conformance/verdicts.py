"""What came of a scenario, from the checks that the suite wrote down; and what is excused.

Verdicts:
    PASS: something was tested, and all of it was right.
    WARN: something that the specification recommends is missing.
    FAIL: something is wrong, or the client ended in an error, or there is no result.
    VACUOUS: nothing was tested.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

__all__ = ["Outcome", "Verdict", "excuse_of", "judge", "stale_entries"]

Verdict = Literal["PASS", "WARN", "FAIL", "VACUOUS"]

_ALWAYS = "wire-schema-valid"
"""A check of every scenario: that what was said was well-formed. Alone it tests nothing."""
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one scenario."""

    scenario: str
    is_scored: bool
    """Whether the revision requires it; in the whole suite all are."""
    verdict: Verdict
    passed: int = 0
    problems: tuple[str, ...] = ()
    """Checks that did not succeed: status, name, what the suite says."""
    excuse: str | None = None
    """Why it need not pass, by the baseline."""

    @property
    def is_unexpected(self) -> bool:
        """Tell whether it should have passed."""
        return self.verdict != "PASS" and self.excuse is None


def judge(
    name: str, is_scored: bool, checks: Sequence[Mapping[str, str]] | None, code: int, excuse: str | None
) -> Outcome:
    """Return what came of a scenario.

    Args:
        name: the scenario's.
        is_scored: whether it is required.
        checks: what the suite wrote down; `None` if nothing.
        code: the exit code of the suite, where it ran this scenario alone.
        excuse: why it need not pass.
    """
    problems: list[str] = []
    if checks is None:
        problems.append("no result")
    elif code != 0 and not any(check["status"] in ("FAILURE", "WARNING") for check in checks):
        problems.append("the client ended in an error, or took too long")
    statuses = [check["status"] for check in checks or ()]
    verdict: Verdict
    if problems or "FAILURE" in statuses:
        verdict = "FAIL"
    elif "WARNING" in statuses:
        verdict = "WARN"
    elif all(check["status"] != "SUCCESS" or check["id"] == _ALWAYS for check in checks or ()):
        verdict = "VACUOUS"
    else:
        verdict = "PASS"
    problems += [
        f"{status} {check['id']}: {_line(check)}"
        for status in ("FAILURE", "WARNING", "SKIPPED")
        for check in checks or ()
        if check["status"] == status
    ]
    return Outcome(name, is_scored, verdict, statuses.count("SUCCESS"), tuple(problems), excuse)


def _line(check: Mapping[str, str]) -> str:
    return (check.get("errorMessage") or check.get("description") or "").partition("\n")[0][:_SHOWN]


def excuse_of(name: str, excuses: Mapping[str, str]) -> str | None:
    """Return why a scenario need not pass, if so: the first entry whose name or pattern fits."""
    return next((why for pattern, why in excuses.items() if fnmatchcase(name, pattern)), None)


def stale_entries(outcomes: Sequence[Outcome], excuses: Mapping[str, str]) -> list[str]:
    """Return the entries that excuse nothing any more: everything that they name passes."""
    named = {pattern: [o.verdict for o in outcomes if fnmatchcase(o.scenario, pattern)] for pattern in excuses}
    return [pattern for pattern, verdicts in named.items() if verdicts and set(verdicts) == {"PASS"}]
