"""The judge: its requirements, its command line, its reports, and what it says of our own server."""

import asyncio
import json
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from conformance import cli
from conformance.baseline import BaselineError, excused
from conformance.check import Check, Outcome, Verdict, worst
from conformance.client import judge_client
from conformance.coverage import covered, later, missing, untestable
from conformance.dialect import NoAnswer
from conformance.fixture import read_fixtures
from conformance.html import write_html
from conformance.memory import assert_conformant
from conformance.report import compare, summary, write_junit
from conformance.requirements import find, requirements, revisions
from conformance.runner import CannotRun, Options, choose, judge_server
from conformance.scenario import EVERYWHERE, Scenario, Trial, load, run_scenario
from conformance.target import ServerTarget, address
from conformance.targets.ours.server import make_server
from kailash.mcp_server import MCPServer

OURS = f"{sys.executable} -m conformance.targets.ours"
NEWEST = list(revisions())[-1]


def test_every_rule_is_covered_or_says_why_not() -> None:
    assert missing() == []
    for kind in (untestable(), later()):
        for number, roles in kind.items():
            for role, reason in roles.items():
                assert role in requirements()[number].roles and reason
                assert role not in covered().get(number, ()), f"{number} is covered for a {role}; take it out"


def test_the_rules_are_numbered_without_a_gap() -> None:
    assert list(requirements()) == list(range(1, 226))
    assert all(each.level in ("MUST", "SHOULD", "MAY") and each.address for each in requirements().values())


def test_most_rules_are_covered() -> None:
    pairs = [(number, role) for number, each in requirements().items() for role in each.roles]
    assert len([pair for pair in pairs if pair[1] in covered().get(pair[0], ())]) >= 195


def test_every_scenario_has_a_summary_and_fits_somewhere() -> None:
    for each in load().values():
        assert each.summary, each.id
        assert any(each.fits(r, t) for r in revisions().values() for t in each.transports), each.id


def test_requirements_are_found_by_number_and_by_id() -> None:
    assert find("128") is find("features-128") is requirements()[128]
    assert find("nothing") is None


@pytest.mark.parametrize(
    ("text", "transport"),
    [
        ("http://127.0.0.1:1/mcp", "http"),
        ("https://example.com/sse?x=1", "sse"),
        ("http=http://127.0.0.1:1/sse", "http"),
        ("sse=http://127.0.0.1:1/events", "sse"),
        ("wss://example.com/ws", "websocket"),
        ("http://127.0.0.1:1/mcp?mode=sse", "http"),
    ],
)
def test_an_address_says_its_transport(text: str, transport: str) -> None:
    found, url = address(text)
    assert found == transport and url.startswith(("http", "ws")) and "://" in url[:8]


def test_a_wrong_address_and_two_for_one_transport_are_refused() -> None:
    with pytest.raises(ValueError, match="ws://"):
        address("ftp://example.com")
    with pytest.raises(ValueError, match="two addresses for websocket"):
        ServerTarget(url=["ws://127.0.0.1:1/a", "ws://127.0.0.1:1/b"])


def test_an_unknown_scenario_cannot_be_chosen() -> None:
    with pytest.raises(CannotRun, match="list"):
        choose("server", ["no-such-thing"])


def test_fixtures_build_on_others() -> None:
    rows = read_fixtures("judge").rows
    assert rows["tools"]["text"]["name"] == "test_simple_text" and "wait" in rows["tools"]
    with pytest.raises(ValueError, match="official"):
        read_fixtures("nowhere")


def test_the_worst_verdict_counts_and_a_skip_never_passes() -> None:
    assert worst([Verdict.PASS, Verdict.SKIP, Verdict.WARN]) is Verdict.WARN
    assert worst([Verdict.SKIP]) is Verdict.SKIP
    assert Outcome("a", "server", NEWEST, "stdio", [Check(1, Verdict.SKIP, "")]).verdict is Verdict.SKIP


def _ran(body: object, covers: Sequence[int] = (1, 4)) -> Outcome:
    which = Scenario("made-up", body, tuple(covers), "E", ("stdio",), "server", False, 0.2)  # type: ignore[arg-type]
    target = ServerTarget(command="unused")
    revision = revisions()[NEWEST]
    return asyncio.run(run_scenario(which, revision, "stdio", target, read_fixtures("official"), 0.2))


def test_a_scenario_that_tests_nothing_is_said_to() -> None:
    async def nothing(trial: Trial) -> None:
        """Does nothing."""

    outcome = _ran(nothing)
    assert outcome.verdict is Verdict.SKIP
    assert {check.detail for check in outcome.checks} == {"the scenario ended without testing it"}


def test_a_fault_of_the_judge_is_none_of_the_target() -> None:
    async def broken(trial: Trial) -> None:
        """Is broken."""
        raise KeyError("oops")

    assert _ran(broken).verdict is Verdict.ERROR


def test_silence_is_blamed_on_the_rule_that_was_to_be_looked_at() -> None:
    async def silent(trial: Trial) -> None:
        """Waits for nothing."""
        trial.check(128, True, "fine")
        raise NoAnswer("no answer")

    outcome = _ran(silent, (128, 133))
    assert [(check.rule, check.verdict) for check in outcome.checks] == [(128, Verdict.PASS), (133, Verdict.WARN)]


def test_a_hung_scenario_is_cut() -> None:
    async def hung(trial: Trial) -> None:
        """Never ends."""
        await asyncio.Event().wait()

    outcome = _ran(hung)
    assert outcome.verdict is Verdict.FAIL and "cut off" in outcome.note


def _outcomes() -> list[Outcome]:
    checks = [Check(128, Verdict.FAIL, "an <unknown> tool \x00", 1), Check(4, Verdict.PASS, "same")]
    return [
        Outcome("unknown-tool", "server", NEWEST, "http", checks, 0.1, ["0.0 > one", "0.1 < <two> \x01"]),
        Outcome("pages", "server", NEWEST, "stdio", [Check(135, Verdict.SKIP, "one page")], 0.1, [], "one page"),
    ]


def test_the_summary_names_the_rule_and_what_was_seen() -> None:
    text = summary(_outcomes(), ["a remark"], details=True)
    assert "FAIL features-128 [unknown-tool]" in text and "an <unknown> tool" in text and "< <two>" in text
    assert "tested nothing: pages (one page)" in text and "a remark" in text


def test_junit_is_xml_whatever_was_on_the_wire(tmp_path: Path) -> None:
    write_junit(tmp_path / "out.xml", _outcomes())
    suites = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert [case.get("name") for case in suites.iter("testcase")] == ["unknown-tool", "pages"]
    assert len(list(suites.iter("failure"))) == 1 and len(list(suites.iter("skipped"))) == 1


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: set[str | None] = set()
        self.links: set[str | None] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.ids.add(given.get("id"))
        if tag == "a":
            self.links.add(given.get("href"))
        assert "src" not in given and tag not in ("script", "link", "img"), "the page needs something from elsewhere"


def test_the_page_stands_alone_and_links_to_its_evidence(tmp_path: Path) -> None:
    write_html(tmp_path / "out.html", _outcomes(), ["<remark>"], "a & b", 1.0)
    text = (tmp_path / "out.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert {link[1:] for link in page.links if link} <= page.ids
    assert "<unknown>" not in text and "&lt;unknown&gt;" in text and "two" not in page.tags


def test_runs_are_compared_rule_by_rule() -> None:
    before, after = _outcomes(), _outcomes()
    after[0].checks[0] = Check(128, Verdict.PASS, "fine")
    assert compare(before, before) == []
    assert compare(before, after) == [f"features-128 {NEWEST}/http: FAIL -> PASS"]


def test_a_run_survives_json() -> None:
    told = [Outcome.from_dict(json.loads(json.dumps(each.as_dict()))) for each in _outcomes()]
    assert [each.checks for each in told] == [each.checks for each in _outcomes()]


def test_a_baseline_excuses_failures_and_shrinks(tmp_path: Path) -> None:
    path = tmp_path / "expected.toml"
    path.write_text('[expected]\n"unknown-tool:features-128" = "known"\n"pages:*" = "gone"\n', encoding="utf-8")
    outcomes, stale = excused(_outcomes(), path)
    assert outcomes[0].verdict is Verdict.PASS and "known" in outcomes[0].checks[0].detail
    assert stale == ["pages:*"]
    with pytest.raises(BaselineError):
        excused([], tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["list"], 0, "unknown-tool"),
        (["list", "--requirements", "--role", "client"], 0, "lifecycle-17"),
        (["explain", "128"], 0, "server: unknown-tool"),
        (["explain", "unknown-tool"], 0, "features-128"),
        (["explain", "client-caches"], 0, "the client under test: read test://one"),
        (["explain", "158"], 0, "not tested"),
        (["explain", "nonsense"], 2, ""),
        (["server"], 2, ""),
        (["server", "--command", "false", "--timeout", "1"], 2, ""),
        (["server", "--command", "true", "--revisions", "never"], 2, ""),
        (["server", "--url", "gopher://127.0.0.1:1"], 2, ""),
        (["server", "--url", "ws://127.0.0.1:1/ws", "--transports", "http"], 2, ""),
        (["client", "--command", "true", "--transports", "pigeon"], 2, ""),
    ],
)
def test_the_command_line(arguments: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == status
    told = capsys.readouterr()
    assert said in told.out
    assert status != 2 or told.err


def test_the_command_line_judges_compares_and_replays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "run.json"
    chosen = ["--scenarios", "unknown-tool,discover", "--revisions", NEWEST]
    outputs = ["--json", str(report), "--junit", str(tmp_path / "run.xml"), "--html", str(tmp_path / "run.html")]
    assert cli.main(["server", "--command", f"{OURS}.server --stdio", *chosen, *outputs]) == 0
    assert "0 FAIL" not in capsys.readouterr().out
    assert cli.main(["compare", str(report), str(report)]) == 0
    assert cli.main(["server", "--command", "unused", "--replay", str(report)]) == 0
    assert "nothing failed" in capsys.readouterr().out


def test_a_server_that_never_answers_cannot_be_judged() -> None:
    target = ServerTarget(command=f"{sys.executable} -c 'import time; time.sleep(60)'")
    options = Options(fixtures=read_fixtures("official"), revisions=(NEWEST,), timeout=0.3, patience=0.3)
    with pytest.raises(CannotRun, match="no answer"):
        asyncio.run(judge_server(target, options))


def test_a_server_is_judged_in_memory() -> None:
    outcomes = asyncio.run(assert_conformant(make_server(page_size=10), fixtures="judge"))
    assert len(outcomes) > 150
    assert not [each.scenario for each in outcomes if each.verdict is Verdict.WARN]


def test_a_server_with_a_fault_is_no_conformant_one() -> None:
    server = MCPServer("faulty")

    @server.tool
    async def test_error_handling() -> str:
        """Should fail, and does not."""
        return "all is well"

    with pytest.raises(AssertionError, match="features-121"):
        asyncio.run(assert_conformant(server, revisions=(NEWEST,), scenarios=("tool-error",)))


def _lacking(outcomes: list[Outcome]) -> set[str]:
    """Return the scenarios that lacked something they need."""
    assert not [o.scenario for o in outcomes if o.verdict is Verdict.SKIP and not o.note]
    return {o.scenario for o in outcomes if o.note}


@pytest.mark.parametrize("transports", [("stdio",), ("http",), ("sse", "websocket")], ids="-".join)
def test_our_server_keeps_every_rule_in_every_revision(transports: tuple[str, ...]) -> None:
    serve = f"{OURS}.server --port {{port}} --page-size 10"
    urls = ("http://127.0.0.1:{port}/mcp", "http://127.0.0.1:{port}/sse", "ws://127.0.0.1:{port}/ws")
    target = ServerTarget(command=f"{OURS}.server --stdio --page-size 10", serve=serve, url=urls)
    assert target.transports == EVERYWHERE
    options = Options(fixtures=read_fixtures("judge"), transports=transports)
    outcomes, remarks = asyncio.run(judge_server(target, options))
    bad = [(o.scenario, o.revision, o.transport, c.rule, c.detail) for o in outcomes
           for c in o.checks_with(Verdict.FAIL, Verdict.WARN, Verdict.ERROR)]  # fmt: skip
    assert not bad
    assert not remarks
    # Over stdio a signal simply ends it.
    assert _lacking(outcomes) == ({"listening-ends-gracefully"} if transports == ("stdio",) else set())


@pytest.mark.parametrize("transports", [("stdio",), ("http",), ("sse", "websocket")], ids="-".join)
def test_our_client_keeps_every_rule_in_every_revision(transports: tuple[str, ...]) -> None:
    options = Options(fixtures=read_fixtures("official"), transports=transports, jobs=2)
    outcomes, _ = asyncio.run(judge_client(f"{OURS}.client", options))
    bad = [(o.scenario, o.revision, o.transport, c.rule, c.detail) for o in outcomes
           for c in o.checks_with(Verdict.FAIL, Verdict.WARN, Verdict.ERROR)]  # fmt: skip
    assert not bad
    assert {o.transport for o in outcomes} == set(transports)
    # That it runs tasks of its own is nothing that it says of itself.
    assert _lacking(outcomes) == {"client-hosts-tasks"}
