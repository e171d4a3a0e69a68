"""A page about a run: requirements by revision and transport, with the evidence behind each cell."""

import html
from collections.abc import Sequence
from pathlib import Path

from .check import Check, Outcome, Verdict
from .report import by_requirement, excerpt
from .requirements import requirements

__all__ = ["write_html"]

_STYLE = """
body{font:14px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1c1c1c;background:#fff}
table{border-collapse:collapse;width:100%}th,td{border:1px solid #d5d5d5;padding:.25rem .5rem;text-align:left;
vertical-align:top}th{background:#f3f3f3;position:sticky;top:0}td.v{text-align:center;font-weight:600;font-size:12px}
.PASS{background:#dff2df}.FAIL,.ERROR{background:#f6c9c5}.WARN{background:#fbe9b7}.SKIP{background:#eee;color:#777}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f7f7f7;padding:.5rem;font-size:12px}summary{cursor:pointer}
a{color:inherit}@media(prefers-color-scheme:dark){body{background:#16181b;color:#ddd}th,pre{background:#23262b}
th,td{border-color:#3a3e45}.PASS{background:#1f4426}.FAIL,.ERROR{background:#6b2420}.WARN{background:#5d4a12}
.SKIP{background:#2a2d32}}
"""


def write_html(path: Path, outcomes: Sequence[Outcome], remarks: Sequence[str], target: str, seconds: float) -> None:
    """Write the page; it needs nothing from anywhere else."""
    lanes = list(dict.fromkeys((outcome.revision, outcome.transport) for outcome in outcomes))
    found = by_requirement(outcomes)
    counts = {verdict: sum(outcome.verdict is verdict for outcome in outcomes) for verdict in Verdict}
    told = ", ".join(f"{count} {verdict.value}" for verdict, count in counts.items() if count)
    head = "".join(f"<th>{_safe(revision)}<br>{_safe(transport)}</th>" for revision, transport in lanes)
    rows = "".join(_row(rule, cells, lanes) for rule, cells in found.items())
    notes = "".join(f"<li>{_safe(remark)}</li>" for remark in remarks)
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>MCP conformance</title><style>{_STYLE}</style>'
        f"<h1>MCP conformance</h1><p><code>{_safe(target)}</code></p>"
        f"<p>{told} of {len(outcomes)} runs in {seconds:.1f} s</p><ul>{notes}</ul>"
        f"<table><thead><tr><th>Requirement</th>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f"<h2>Evidence</h2>{''.join(_details(rule, outcomes) for rule in found)}</html>"
    )
    path.write_text(page, encoding="utf-8")


def _safe(text: str) -> str:
    return html.escape(text.encode("utf-8", "replace").decode("utf-8"))


def _row(rule: int, cells: dict[tuple[str, str], Verdict], lanes: Sequence[tuple[str, str]]) -> str:
    requirement = requirements()[rule]
    columns = "".join(_cell(rule, cells.get(lane)) for lane in lanes)
    told = f"<b>{_safe(requirement.id)}</b> {_safe(requirement.text)} <i>{requirement.level}</i>"
    return f"<tr><td>{told}</td>{columns}</tr>"


def _cell(rule: int, verdict: Verdict | None) -> str:
    if verdict is None:
        return "<td></td>"
    return f'<td class="v {verdict.value}"><a href="#r{rule}">{verdict.value}</a></td>'


def _details(rule: int, outcomes: Sequence[Outcome]) -> str:
    requirement = requirements()[rule]
    shown: list[str] = []
    is_bad = False
    for outcome in outcomes:
        for check in outcome.checks:
            if check.rule == rule and (check.verdict is not Verdict.PASS or len(shown) < 3):
                is_bad = is_bad or check.verdict in (Verdict.FAIL, Verdict.WARN, Verdict.ERROR)
                shown.append(_check(outcome, check))
    opened = " open" if is_bad else ""
    title = f"{_safe(requirement.id)}: {_safe(requirement.text)} ({_safe(requirement.address)})"
    return f'<details id="r{rule}"{opened}><summary>{title}</summary>{"".join(shown)}</details>'


def _check(outcome: Outcome, check: Check) -> str:
    where = f"{outcome.revision} {outcome.transport} {outcome.scenario}"
    lines = excerpt(outcome, check, 12)
    wire = f"<pre>{_safe(chr(10).join(lines))}</pre>" if lines else ""
    verdict = f'<span class="{check.verdict.value}">{check.verdict.value}</span>'
    return f"<p>{verdict} {_safe(where)}: {_safe(check.detail)}</p>{wire}"
