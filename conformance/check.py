"""Verdicts: what one check found, and what the checks of one run of a scenario come to."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

__all__ = ["Check", "Outcome", "Verdict", "worst"]


class Verdict(Enum):
    """What a check found, the worst last."""

    PASS = "PASS"
    SKIP = "SKIP"
    """Not tested: a fixture or a capability is absent. Never a pass."""
    WARN = "WARN"
    """What the specification advises is missed."""
    FAIL = "FAIL"
    """What the specification demands is missed."""
    ERROR = "ERROR"
    """The judge itself went wrong: says nothing about the target."""


@dataclass(frozen=True, slots=True)
class Check:
    """One rule looked at once."""

    rule: int
    verdict: Verdict
    detail: str
    evidence: int | None = None
    """Where in the transcript: the number of its last line that matters."""


@dataclass(slots=True)
class Outcome:
    """What one scenario found, in one revision over one transport."""

    scenario: str
    role: str
    revision: str
    transport: str
    checks: list[Check] = field(default_factory=list)
    seconds: float = 0.0
    transcript: list[str] = field(default_factory=list)
    note: str = ""
    has_tested: bool = True
    """Something was found about a rule that the scenario is for, not only about those that every message is held to."""

    @property
    def verdict(self) -> Verdict:
        """The worst of the checks; `SKIP` where nothing was tested."""
        found = {check.verdict for check in self.checks}
        if not self.has_tested:
            found.discard(Verdict.PASS)
        for verdict in (Verdict.ERROR, Verdict.FAIL, Verdict.WARN, Verdict.PASS):
            if verdict in found:
                return verdict
        return Verdict.SKIP

    def checks_with(self, *verdicts: Verdict) -> list[Check]:
        """Return the checks that found one of these."""
        return [check for check in self.checks if check.verdict in verdicts]

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome as JSON can hold it; the transcript only where something is to be explained."""
        is_bad = self.verdict in (Verdict.FAIL, Verdict.WARN, Verdict.ERROR)
        return {
            "scenario": self.scenario,
            "role": self.role,
            "revision": self.revision,
            "transport": self.transport,
            "verdict": self.verdict.value,
            "seconds": round(self.seconds, 3),
            "note": self.note,
            "has_tested": self.has_tested,
            "checks": [
                {"rule": c.rule, "verdict": c.verdict.value, "detail": c.detail, "evidence": c.evidence}
                for c in self.checks
            ],
            "transcript": self.transcript if is_bad else [],
        }

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> "Outcome":
        """Read back what `as_dict` returned."""
        checks = [Check(c["rule"], Verdict(c["verdict"]), c["detail"], c.get("evidence")) for c in given["checks"]]
        plain = {name: given[name] for name in ("scenario", "role", "revision", "transport", "seconds", "note")}
        has_tested = bool(given.get("has_tested", True))
        return cls(**plain, checks=checks, transcript=list(given["transcript"]), has_tested=has_tested)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of several verdicts; `SKIP` of none."""
    order = list(Verdict)
    ranked = sorted((v for v in verdicts if v is not Verdict.SKIP), key=order.index)
    return ranked[-1] if ranked else Verdict.SKIP
