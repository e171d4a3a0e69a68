"""Each question of the benchmarks, asked once and small, of ours and of the floor: none may rot unseen."""

import io
import json
from functools import cache
from pathlib import Path

import pytest

from benchmarks.bench_sessions import MEMORY as SESSION_MEMORY
from benchmarks.cli import main
from benchmarks.goals import GOALS, reached
from benchmarks.harness import LOAD_BUSY, LOAD_LATE, SERVER_BUSY, Figure, Plan, Sample, contest, figures_of, take_turns
from benchmarks.peering import AGAINST, PEERS
from benchmarks.processes import WebServer
from benchmarks.progress import Progress
from benchmarks.questions import QUESTIONS, Question
from benchmarks.subjects import peer
from benchmarks.tables import LOAD_BOUND, Table, tables_of
from benchmarks.tables import LOAD_LATE as LATE_NOTE
from benchmarks.webload import Load, Requests, Wire
from conformance.install import REPOSITORY

SMALL = Plan(rounds=1, seconds=0.01, scale=0.02)
_SAYS_NOTHING_OF_SIZE = {SESSION_MEMORY, "memory of an idle websocket", "idle sessions, bytes each"}
"""What few idle ones weigh may well be nothing."""


@cache
def _answer(question: str) -> list[Figure]:
    return QUESTIONS[question].run(SMALL)


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_is_answered(question: str) -> None:
    figures = _answer(question)
    assert all(figure.value > 0 for figure in figures if figure.table not in _SAYS_NOTHING_OF_SIZE)
    assert {figure.question for figure in figures} == {question}
    subjects = {figure.subject for figure in figures}
    assert any(name.startswith(("ours", "all of it", "shared")) for name in subjects)
    for table in tables_of(figures):
        assert len(table.rows) == len(table.figures)
        assert table.has_floor or table.title in _SAYS_NOTHING_OF_SIZE, "every table has its floor"


def test_every_peer_of_a_question_is_one_that_can_be_installed() -> None:
    for row in QUESTIONS.values():
        assert set(row.peers) <= set(PEERS)


def test_peers_are_called_by_the_version_that_is_installed() -> None:
    locked = json.loads((REPOSITORY / "tests" / "interop" / "npm" / "package.json").read_text())["dependencies"]
    for name, row in PEERS.items():
        version = row.requirement.partition("==")[2] or locked["@modelcontextprotocol/sdk"]
        assert row.name.endswith(f" {version}"), name


def test_the_goals_are_about_tables_and_subjects_that_are_measured() -> None:
    figures = [figure for row in QUESTIONS.values() if row.is_short for figure in _answer(row.name)]
    measured = {(figure.table, figure.subject, figure.at) for figure in figures}
    shrunk = {goal.table for goal in GOALS if goal.table == SESSION_MEMORY}
    assert {(goal.table, goal.subject, goal.at) for goal in GOALS if goal.table not in shrunk} <= measured


def _figures() -> list[Figure]:
    return [
        Figure("q", "ours", (300.0, 290.0, 310.0), "calls/s", {SERVER_BUSY: 1.0, LOAD_BUSY: 0.5}),
        Figure("q", "ours, other", (300.0,), "calls/s", floor="other (floor)"),
        Figure("q", "bare (floor)", (600.0,), "calls/s", {SERVER_BUSY: 0.5, LOAD_BUSY: 0.95}),
        Figure("q", "other (floor)", (400.0,), "calls/s"),
        Figure("q", "mcp 2.3.0", (100.0,), "calls/s"),
        Figure("p", "ours", (2.0,), "ms", is_less_better=True),
        Figure("p", "bare (floor)", (1.0,), "ms", is_less_better=True),
        Figure("p", "mcp 2.3.0", (8.0,), "ms", is_less_better=True),
    ]


def test_ratios_come_first_and_are_to_the_official_sdk_and_to_the_floor_of_the_same_table() -> None:
    more, less = tables_of(_figures())
    assert more.head[1:3] == ["times mcp 2.3.0", "of the floor"]
    assert more.rows[0][:5] == ["ours", "3x", "50% ‡", "300", "calls/s"]
    assert more.rows[1][:3] == ["ours, other", "3x", "75%"]
    assert less.rows[0][:3] == ["ours", "4x", "50%"]
    assert "less is better" in less.text()


def test_a_row_that_the_load_held_back_is_marked() -> None:
    table = tables_of(_figures())[0]
    assert table.rows[2][0] == "bare (floor) †"
    assert LOAD_BOUND in table.text() and LOAD_BOUND in table.markdown()
    assert not table.rows[0][0].endswith("†")


def test_a_row_whose_load_was_late_itself_is_marked() -> None:
    details = {"late": {LOAD_LATE: 60.0}, "in time": {LOAD_LATE: 5.0}}
    (table,) = tables_of([Figure("t", name, (100.0,), "µs", detail) for name, detail in details.items()])
    assert [row[0] for row in table.rows] == ["late §", "in time"]
    assert table.notes == [LATE_NOTE]


def test_rounds_take_turns_and_the_warm_up_does_not_count() -> None:
    asked: list[tuple[str, int]] = []

    def turn(name: str, rate: float) -> Sample:
        asked.append((name, 0))
        return Sample(rate)

    found = contest(
        {"a": lambda count: turn("a", 1000.0), "b": lambda count: turn("b", 10.0)}, Plan(rounds=3, seconds=0.001)
    )
    assert [name for name, _ in asked[-6:]] == ["a", "b"] * 3
    assert [len(samples) for samples in found.values()] == [3, 3]


def test_a_round_is_as_long_as_planned_for_the_fast_and_the_slow() -> None:
    counts: dict[str, list[int]] = {"fast": [], "slow": []}

    def turn(name: str, rate: float, count: int) -> Sample:
        counts[name].append(count)
        return Sample(rate)

    plan = Plan(rounds=1, seconds=0.5)
    contest({"fast": lambda n: turn("fast", 10_000.0, n), "slow": lambda n: turn("slow", 20.0, n)}, plan)
    assert (counts["fast"][-1], counts["slow"][-1]) == (5000, 10)


def test_figures_hold_the_values_of_all_rounds_and_survive_json() -> None:
    samples = {"ours": [Sample(3.0, {"p99": 9.0}), Sample(1.0, {"p99": 7.0}), Sample(2.0, {"p99": 8.0})]}
    (figure,) = figures_of("t", samples, "µs", is_less_better=True, at=4, axis="bytes")
    assert (figure.value, figure.spread, figure.detail) == (2.0, (1.0, 3.0), {"p99": 8.0})
    line = json.loads(json.dumps(figure.as_json()))
    assert line["values"] == [3.0, 1.0, 2.0]
    assert Figure.from_json(line) == figure


def test_turns_without_a_number_are_repeated_as_often_as_planned() -> None:
    assert take_turns({"a": lambda: Sample(1.0)}, Plan(rounds=4)) == {"a": [Sample(1.0)] * 4}


def test_goals_say_what_was_reached_and_what_was_not_measured() -> None:
    goal = GOALS[0]
    figures = [
        Figure(goal.table, "ours", (3300.0,), "calls/s"),
        Figure(goal.table, "bare (floor)", (11000.0,), "calls/s"),
        Figure(goal.table, "mcp 2.3.0", (200.0,), "calls/s"),
    ]
    first, *others = reached(figures)
    assert first[1:] == ["16x mcp 2.3.0", "16.5x mcp 2.3.0", "40%", "30%", "not met"]
    assert {row[-1] for row in others} == {"not measured"}
    assert reached([*figures[:1], Figure(goal.table, "bare (floor)", (8000.0,), "calls/s"), figures[2]])[0][-1] == "met"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "weather"], f"unknown question weather; known: {', '.join(QUESTIONS)}"),
        (["run", "--against", "rust"], f"unknown peer rust; known: {', '.join(AGAINST)}"),
        (["run", "--rounds", "0"], "--rounds must be at least 1"),
        (["weather"], "invalid choice"),
    ],
)
def test_what_is_not_known_is_refused_with_what_is(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_files_that_hold_no_figures_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = tmp_path / "odd"
    odd.write_text('{"weather": "fine"}\n')
    for path, why in ((tmp_path / "nowhere", "No such file"), (odd, "holds no figures")):
        assert main(["compare", str(path), str(path)]) == 2
        assert why in capsys.readouterr().err


def test_list_names_every_question_with_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(QUESTIONS)
    assert all(" s" in line and row.summary in line for line, row in zip(lines, QUESTIONS.values(), strict=True))


def test_a_run_is_told_kept_drawn_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept, page = tmp_path / "run.jsonl", tmp_path / "report.md"
    command = ["run", "pool", "--against", "", "--rounds", "1"]
    assert main([*command, "--json", str(kept), "--plot", str(tmp_path / "plots"), "--report", str(page)]) == 0
    said = capsys.readouterr()
    assert "pool, a call in memory" in said.out and "... 1/1 pool" in said.err
    text = page.read_text()
    assert "| memory per idle session | 5x mcp 2.3.0 | not measured |" in text
    assert "![pool, a call in memory](plots/pool-a-call-in-memory.svg)" in text
    assert (tmp_path / "plots" / "pool-a-call-in-memory.svg").read_text().startswith("<svg")
    (line, _) = map(json.loads, kept.read_text().splitlines())
    assert {"values", "unit", "subject", "question", "table", "machine", "run"} <= line.keys()
    assert {"cpu", "cores", "kernel", "python", "packages", "load"} <= line["machine"].keys()
    assert main(["compare", str(kept), str(kept)]) == 0
    assert "too few rounds to tell" in capsys.readouterr().out


def test_a_question_that_fails_is_told_and_the_others_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(QUESTIONS, "missing", Question("missing", "what nobody measures", 1))
    page = tmp_path / "report.md"
    command = ["run", "missing", "pool", "--against", "", "--rounds", "1", "--report", str(page)]
    assert main(command) == 1
    assert "missing failed: ModuleNotFoundError" in capsys.readouterr().err
    text = page.read_text()
    assert "- missing failed: ModuleNotFoundError" in text and "### pool, a call in memory" in text


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ((10.0, 11.0, 12.0), (11.5, 12.5, 13.0), "noise"),
        ((10.0, 11.0, 12.0), (15.0, 16.0, 17.0), "better"),
        ((15.0, 16.0, 17.0), (10.0, 11.0, 12.0), "worse"),
    ],
)
def test_a_change_within_the_spread_is_called_noise(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    before: tuple[float, ...],
    after: tuple[float, ...],
    verdict: str,
) -> None:
    for name, values in (("before", before), ("after", after)):
        line = {**Figure("t", "ours", values, "calls/s").as_json(), "run": name, "machine": {"cpu": name}}
        (tmp_path / name).write_text(json.dumps(line) + "\n")
    assert main(["compare", str(tmp_path / "before"), str(tmp_path / "after")]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1].endswith(verdict)
    assert "not the same cpu: before and after" in said


def test_a_change_of_the_machine_shows_as_one_of_the_floor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, ours, floor in (
        ("before", (40.0, 41.0, 42.0), (99.0, 100.0, 101.0)),
        ("after", (20.5,) * 3, (50.0,) * 3),
    ):
        figures = [Figure("t", "ours", ours, "calls/s"), Figure("t", "bare (floor)", floor, "calls/s")]
        lines = [{**figure.as_json(), "run": name, "machine": {}} for figure in figures]
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["compare", str(tmp_path / "before"), str(tmp_path / "after")]) == 0
    ours, floor = capsys.readouterr().out.splitlines()[-2:]
    assert "-50.0%" in ours and "+0.0%" in ours and ours.endswith("worse, as the floor")
    assert floor.endswith("worse")


def test_the_load_accepts_no_answer_but_the_one_that_was_asked_for() -> None:
    with WebServer(peer("bare_http.py")) as server:
        with Load(server.port, 2) as load, pytest.raises(RuntimeError, match="answered with"):
            load.run(Requests(server.port).make(4), b"goodbye")
        (request, _), *_ = Requests(server.port).make(1)
        with Load(server.port, 1) as load, pytest.raises(RuntimeError, match="answered with"):
            load.run([(request, b'"id":7')], b"hello")
        with Wire(server.port) as wire, pytest.raises(RuntimeError, match="405"):
            wire.ask(request.replace(b"POST", b"GET", 1))


def test_a_server_that_does_not_start_says_why() -> None:
    with pytest.raises(RuntimeError, match="KeyError"):
        WebServer(peer("bare_http.py", "--codec=none"))


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere() -> None:
    for stream, expected in ((_Terminal(), "█"), (io.StringIO(), "... 2/2 second")):
        progress = Progress({"first": 1.0, "second": 3.0}, stream)
        for name in ("first", "second"):
            progress.begin(name)
            progress.tell("ours, round 1 of 5")
            progress.end()
        said = stream.getvalue()
        assert expected in said
        assert ("\r" in said and "ours, round 1" in said) == stream.isatty()


def test_a_table_of_one_subject_needs_no_reference() -> None:
    table = Table("t", [Figure("t", "ours", (1.0,), "kB", floor="")])
    assert table.head == ["", "median", "unit", "min to max"]
