"""Reports: on a terminal, as JSON, as JUnit XML; and how two runs differ."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree

from .check import Check, Outcome, Verdict, worst
from .requirements import requirements

__all__ = ["Run", "as_json", "by_requirement", "compare", "excerpt", "has_failed", "read_run", "summary", "write_junit"]

_BAD = (Verdict.ERROR, Verdict.FAIL, Verdict.WARN)


def by_requirement(outcomes: Iterable[Outcome]) -> dict[int, dict[tuple[str, str], Verdict]]:
    """Return the worst verdict of each rule for each revision and transport."""
    found: dict[int, dict[tuple[str, str], list[Verdict]]] = defaultdict(lambda: defaultdict(list))
    for outcome in outcomes:
        for check in outcome.checks:
            found[check.rule][outcome.revision, outcome.transport].append(check.verdict)
    return {rule: {lane: worst(v) for lane, v in lanes.items()} for rule, lanes in sorted(found.items())}


@dataclass(frozen=True, slots=True)
class Run:
    """A run that was read back."""

    target: str
    outcomes: list[Outcome]
    how: dict[str, Any]
    """How the target was reached: `command`, `url`, `serve`, `fixtures`."""


def as_json(
    outcomes: Sequence[Outcome],
    remarks: Sequence[str],
    target: str,
    seconds: float,
    how: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return a whole run as JSON can hold it."""
    return {
        "judge": "kailash conformance 1",
        "target": target,
        "how": dict(how),
        "seconds": round(seconds, 2),
        "remarks": list(remarks),
        "outcomes": [outcome.as_dict() for outcome in outcomes],
    }


def read_run(path: Path) -> Run:
    """Read a run that was written as JSON.

    Raises:
        ValueError: it is none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Run(found["target"], [Outcome.from_dict(each) for each in found["outcomes"]], found.get("how") or {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no run of this judge: {error}") from error


def summary(outcomes: Sequence[Outcome], remarks: Sequence[str], *, details: bool = False) -> str:
    """Return what a person wants to know: every failure and warning, then the counts."""
    lines: list[str] = []
    grouped: dict[tuple[int, Verdict, str, str], list[str]] = defaultdict(list)
    first: dict[tuple[int, Verdict, str, str], tuple[Outcome, Check]] = {}
    for outcome in outcomes:
        for check in outcome.checks_with(*_BAD):
            key = (check.rule, check.verdict, outcome.scenario, check.detail)
            grouped[key].append(f"{outcome.revision}/{outcome.transport}")
            first.setdefault(key, (outcome, check))
    for key in sorted(grouped, key=lambda k: (-list(Verdict).index(k[1]), k[0])):
        rule, verdict, scenario, detail = key
        requirement = requirements()[rule]
        lines.append(f"{verdict.value} {requirement.id} [{scenario}] on {', '.join(grouped[key])}")
        lines.append(f"     rule: {requirement.text} ({requirement.level}; {requirement.address})")
        lines += [f"     {each}" for each in f"seen: {detail}".splitlines()]
        if details:
            lines += [f"     | {each}" for each in excerpt(*first[key])]
    counts = Counter(outcome.verdict.value for outcome in outcomes)
    rules = by_requirement(outcomes)
    kept = Counter(worst(lanes.values()).value for lanes in rules.values())
    empty = sorted({o.scenario for o in outcomes if o.verdict is Verdict.SKIP})
    reasons = {o.scenario: o.note or o.checks[0].detail for o in outcomes if o.verdict is Verdict.SKIP and o.checks}
    lines += [f"tested nothing: {name} ({reasons.get(name, 'no checks')})" for name in empty]
    silent = [o for o in outcomes if o.note and o.verdict in (Verdict.FAIL, Verdict.WARN)]
    lines += [f"went silent: {o.scenario} on {o.revision}/{o.transport}: {o.note}" for o in silent]
    lines += [f"not judged: {remark}" for remark in remarks]
    lines.append(f"scenarios: {_counts(counts)} of {len(outcomes)} runs")
    lines.append(f"requirements: {_counts(kept)} of {len(rules)} looked at")
    return "\n".join(lines)


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[v.value]} {v.value}" for v in Verdict if counts[v.value]) or "nothing"


def excerpt(outcome: Outcome, check: Check, size: int = 8) -> list[str]:
    """Return the lines of a transcript that lead to a check."""
    end = len(outcome.transcript) if check.evidence is None else check.evidence + 1
    return outcome.transcript[max(0, end - size) : end]


def has_failed(outcomes: Iterable[Outcome], *, strict: bool) -> bool:
    """Tell whether the target fell short; warnings count where it is looked at strictly."""
    bad = (Verdict.FAIL, Verdict.WARN) if strict else (Verdict.FAIL,)
    return any(outcome.checks_with(*bad) for outcome in outcomes)


def write_junit(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write JUnit XML: a suite for each revision and transport, a case for each scenario."""
    root = ElementTree.Element("testsuites", name="mcp-conformance")
    suites: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        suites[outcome.revision, outcome.transport].append(outcome)
    for (revision, transport), members in suites.items():
        verdicts = Counter(outcome.verdict for outcome in members)
        numbers = {"tests": len(members), "failures": verdicts[Verdict.FAIL], "errors": verdicts[Verdict.ERROR]}
        numbers["skipped"] = verdicts[Verdict.SKIP]
        suite = ElementTree.SubElement(root, "testsuite", name=f"{revision} {transport}")
        suite.attrib.update({name: str(number) for name, number in numbers.items()})
        for outcome in members:
            _case(suite, outcome)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


_PLAIN = str.maketrans(dict.fromkeys((*range(9), 11, 12, *range(14, 32)), "�"))


def _case(suite: ElementTree.Element, outcome: Outcome) -> None:
    name = f"{outcome.role}.{outcome.revision}.{outcome.transport}"
    case = ElementTree.SubElement(suite, "testcase", classname=name, name=outcome.scenario)
    case.set("time", f"{outcome.seconds:.3f}")
    tags = {Verdict.FAIL: "failure", Verdict.ERROR: "error", Verdict.SKIP: "skipped"}
    tag = tags.get(outcome.verdict)
    bad = outcome.checks_with(*_BAD)
    told = "\n".join(f"{c.verdict.value} {requirements()[c.rule].id}: {c.detail}" for c in bad) or outcome.note
    if tag:
        element = ElementTree.SubElement(case, tag, message=told.partition("\n")[0].translate(_PLAIN))
        element.text = "\n".join([told, "", *outcome.transcript]).translate(_PLAIN)
    elif told:
        ElementTree.SubElement(case, "system-out").text = told.translate(_PLAIN)


def compare(before: Sequence[Outcome], after: Sequence[Outcome]) -> list[str]:
    """Return a line for each rule whose verdict differs between two runs."""
    left, right = by_requirement(before), by_requirement(after)
    lines = []
    for rule in sorted({*left, *right}):
        for lane in sorted({*left.get(rule, {}), *right.get(rule, {})}):
            was, now = left.get(rule, {}).get(lane), right.get(rule, {}).get(lane)
            if was is not now:
                names = " -> ".join(each.value if each else "not run" for each in (was, now))
                lines.append(f"{requirements()[rule].id} {lane[0]}/{lane[1]}: {names}")
    return lines
