"""Pages: requirements by revision and transport, or by target, with the evidence behind each cell one click away.

A page needs nothing from anywhere else and no script: a cell links to the panel of its evidence, which its link shows.
"""

import html
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .check import Check, Outcome, Verdict, worst
from .report import excerpt
from .requirements import requirements

__all__ = ["Column", "write_html", "write_page"]

_BAD = (Verdict.FAIL, Verdict.WARN, Verdict.ERROR)
_PASSES_SHOWN = 3
_LINES, _LINE = 12, 400

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1d21;--soft:#5b6270;--back:#fff;--head:#f2f4f7;--line:#d9dde3;--panel:#fff;
--pass:#dcf0dd;--fail:#f7c6c2;--warn:#fbe6ad;--skip:#eceef1;--skipink:#70757f}
@media(prefers-color-scheme:dark){:root{--ink:#dfe2e7;--soft:#9aa1ad;--back:#15171a;--head:#1f2227;--line:#363b43;
--panel:#1a1d21;--pass:#1d4426;--fail:#75261f;--warn:#604c10;--skip:#25292f;--skipink:#8b929d}}
*{box-sizing:border-box}
body{font:14px/1.45 system-ui,-apple-system,"Segoe UI",sans-serif;margin:0 auto;max-width:88rem;
padding:1.5rem 1rem 30vh;color:var(--ink);background:var(--back)}
h1{font-size:1.35rem;margin:0 0 .25rem}h2{font-size:1.05rem;margin:1.5rem 0 .5rem}
code,pre{font-family:ui-monospace,"DejaVu Sans Mono",Menlo,monospace;font-size:12px}
p{margin:.35rem 0}a{color:inherit}ul{margin:.35rem 0;padding-left:1.2rem}
.soft{color:var(--soft)}
.chip{display:inline-block;border-radius:1rem;padding:.1rem .6rem;margin-right:.4rem;font-weight:600}
table{border-collapse:separate;border-spacing:0;width:100%;margin-top:.5rem;table-layout:fixed;min-width:48rem}
thead th:first-child{width:34%}thead th+th{overflow-wrap:anywhere}summary{cursor:pointer}
th,td{border-right:1px solid var(--line);border-bottom:1px solid var(--line);padding:.25rem .5rem;text-align:left;
vertical-align:top}
th:first-child,td:first-child{border-left:1px solid var(--line)}
thead th{background:var(--head);position:sticky;top:0;z-index:1;border-top:1px solid var(--line);font-weight:600}
thead th+th{text-align:center;font-size:12px}
tr.area th{background:var(--head);text-transform:capitalize}
td.v{padding:0;text-align:center;min-width:4.2rem}
td.v a{display:block;padding:.25rem;text-decoration:none;font-weight:600;font-size:12px}
td.v a:hover,td.v a:focus{outline:2px solid var(--soft);outline-offset:-2px}
.PASS{background:var(--pass)}.FAIL,.ERROR{background:var(--fail)}.WARN{background:var(--warn)}
.SKIP{background:var(--skip);color:var(--skipink)}
body:has(#only:checked) tr.fine{display:none}
.panel{display:none}
.panel:target{display:block;position:fixed;left:0;right:0;bottom:0;max-height:62vh;overflow:auto;z-index:2;
background:var(--panel);border-top:3px solid var(--soft);padding:.75rem 1.25rem 1.5rem;box-shadow:0 -6px 24px #0005}
.panel .close{float:right;font-weight:600}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--head);padding:.5rem;margin:.25rem 0 .75rem}
"""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a page."""

    top: str
    below: str
    outcomes: list[Outcome]


def write_html(path: Path, outcomes: Sequence[Outcome], remarks: Sequence[str], target: str, seconds: float) -> None:
    """Write the page about a run: a column for each revision and transport."""
    lanes = dict.fromkeys((outcome.revision, outcome.transport) for outcome in outcomes)
    columns = [
        Column(revision, transport, [o for o in outcomes if (o.revision, o.transport) == (revision, transport)])
        for revision, transport in lanes
    ]
    counts = Counter(outcome.verdict for outcome in outcomes)
    lead = f"<p><code>{_safe(target)}</code></p><p>{_chips(counts)} of {len(outcomes)} runs in {seconds:.1f} s</p>"
    write_page(path, "MCP conformance", lead, columns, remarks)


def write_page(path: Path, title: str, lead: str, columns: Sequence[Column], remarks: Sequence[str]) -> None:
    """Write a page: a row for each requirement that was looked at.

    Args:
        path: where to.
        title: plain text.
        lead: HTML, above the table.
        columns: what is compared.
        remarks: plain text, below the lead.
    """
    checks = [_by_rule(column) for column in columns]
    rules = sorted({rule for found in checks for rule in found})
    head = "".join(f"<th>{_safe(c.top)}<br><span class=soft>{_safe(c.below)}</span></th>" for c in columns)
    body = "".join(_areas(rules, checks))
    notes = "".join(f"<li>{_safe(remark)}</li>" for remark in remarks)
    told = (
        f"<details><summary>what was not judged ({len(remarks)})</summary><ul>{notes}</ul></details>" if notes else ""
    )
    panels = "".join(
        _panel(rule, number, columns[number], found[rule])
        for rule in rules
        for number, found in enumerate(checks)
        if rule in found
    )
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_safe(title)}</title><style>{_STYLE}</style><h1>{_safe(title)}</h1>{lead}{told}"
        '<p><label><input type="checkbox" id="only"> only requirements that something is wrong with</label></p>'
        f'<table><thead><tr><th>Requirement</th>{head}</tr></thead><tbody id="top">{body}</tbody></table>'
        f"{panels}</html>"
    )
    path.write_text(page, encoding="utf-8")


def _safe(text: str) -> str:
    return html.escape(text.encode("utf-8", "replace").decode("utf-8"))


def _chips(counts: Counter[Verdict]) -> str:
    return "".join(
        f'<span class="chip {verdict.value}">{counts[verdict]} {verdict.value}</span>'
        for verdict in Verdict
        if counts[verdict]
    )


def _by_rule(column: Column) -> dict[int, list[tuple[Outcome, Check]]]:
    found: dict[int, list[tuple[Outcome, Check]]] = {}
    for outcome in column.outcomes:
        for check in outcome.checks:
            found.setdefault(check.rule, []).append((outcome, check))
    return found


def _areas(rules: Sequence[int], checks: Sequence[dict[int, list[tuple[Outcome, Check]]]]) -> Iterator[str]:
    """Yield the rows, with a row above each area."""
    area = ""
    for rule in rules:
        requirement = requirements()[rule]
        name = requirement.id.rpartition("-")[0]
        verdicts = [worst(c.verdict for _, c in found[rule]) if rule in found else None for found in checks]
        if name != area:
            area = name
            yield f'<tr class="area"><th colspan="{len(checks) + 1}">{_safe(name.replace("-", " "))}</th></tr>'
        is_fine = not any(verdict in _BAD for verdict in verdicts)
        told = f"<b>{_safe(requirement.id)}</b> {_safe(requirement.text)} <span class=soft>{requirement.level}</span>"
        cells = "".join(
            "<td></td>"
            if verdict is None
            else f'<td class="v {verdict.value}"><a href="#r{rule}-{number}">{verdict.value}</a></td>'
            for number, verdict in enumerate(verdicts)
        )
        yield f"<tr{' class=fine' if is_fine else ''}><td>{told}</td>{cells}</tr>"


def _panel(rule: int, number: int, column: Column, found: Sequence[tuple[Outcome, Check]]) -> str:
    """Return the evidence behind one cell: all that is wrong, else some of what was right."""
    requirement = requirements()[rule]
    bad = [pair for pair in found if pair[1].verdict in _BAD]
    shown = bad or [pair for pair in found if pair[1].verdict is Verdict.PASS][:_PASSES_SHOWN] or list(found)[:1]
    left = len(found) - len(shown)
    more = f"<p class=soft>and {left} more checks of this rule</p>" if left else ""
    return (
        f'<div class="panel" id="r{rule}-{number}"><a class="close" href="#top">close</a>'
        f"<p><b>{_safe(requirement.id)}</b> {_safe(requirement.text)} "
        f"<span class=soft>({_safe(requirement.level)}; {_safe(requirement.address)}) "
        f"on {_safe(column.top)} {_safe(column.below)}</span></p>"
        f"{''.join(_evidence(*each) for each in shown)}{more}</div>"
    )


def _evidence(outcome: Outcome, check: Check) -> str:
    where = f"{outcome.scenario} in {outcome.revision} over {outcome.transport}"
    lines = [line if len(line) <= _LINE else f"{line[:_LINE]}…" for line in excerpt(outcome, check, _LINES)]
    wire = f"<pre>{_safe(chr(10).join(lines))}</pre>" if lines else ""
    verdict = f'<span class="chip {check.verdict.value}">{check.verdict.value}</span>'
    return f"<p>{verdict} {_safe(where)}: {_safe(check.detail)}</p>{wire}"
