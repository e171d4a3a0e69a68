"""Known implementations side by side, and the agreement with the official suite."""

import json
from pathlib import Path

import pytest

from conformance import agreement, cli, matrix
from conformance.check import Check, Outcome, Verdict
from conformance.environments import Unavailable
from conformance.fixture import read_fixtures
from conformance.install import install
from conformance.known import known_targets, prepare
from conformance.matrix import Judged, table
from conformance.official import Leg
from conformance.requirements import requirements, revisions
from conformance.runner import choose
from conformance.scenario import load

from .outcomes import NEWEST, outcomes


def test_every_target_says_what_it_takes() -> None:
    found = {known.id: known for known in known_targets()}
    assert {"kailash", "mcp-2.3.0", "mcp-1.30.0", "fastmcp", "typescript", "everything"} <= set(found)
    for known in found.values():
        assert read_fixtures(known.fixtures).rows and known.roles and known.name
        assert sum(name in known.install for name in ("self", "python", "npm")) == 1
    with pytest.raises(ValueError, match="kailash"):
        known_targets(["nobody"])


def test_commands_are_filled_in() -> None:
    prepared = prepare(known_targets(["kailash"])[0])
    assert "{" not in prepared.client() and prepared.server().transports == ("stdio", "http")


def _judged() -> list[Judged]:
    kailash, mcp = known_targets(["kailash", "mcp-2.3.0"])
    kept = Outcome("unknown-tool", "server", NEWEST, "http", [Check(128, Verdict.PASS, "fine")])
    return [
        Judged(kailash, "server", [kept]),
        Judged(mcp, "server", outcomes()),
        Judged(mcp, "client", reason="no pip"),
    ]


def test_the_table_counts_and_names_what_could_not_be_judged() -> None:
    text = table(_judged())
    assert "features  1/0/0/0         0/1/0/1" in text and "mcp-2.3.0 client: no pip" in text
    text = table(_judged(), by="requirement")
    assert "features-128  pass            fail" in text and "features-135" not in text


def test_the_page_shows_both(tmp_path: Path) -> None:
    matrix.write_matrix(tmp_path / "matrix.html", _judged())
    text = (tmp_path / "matrix.html").read_text(encoding="utf-8")
    assert 'class="v FAIL"><a href="#r128-1"' in text and 'id="r128-1"' in text and "no pip" in text


def test_what_cannot_be_installed_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(known: object) -> None:
        raise Unavailable("the registry does not answer")

    monkeypatch.setattr(matrix, "prepare", refuse)
    assert cli.main(["matrix", "--targets", "fastmcp"]) == 2
    assert "fastmcp server: cannot be installed: the registry does not answer" in capsys.readouterr().out


def test_our_own_are_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tmp_path / "matrix.json"
    wanted = "unknown-tool,client-uses-a-server"
    arguments = ["--targets", "kailash", "--scenarios", wanted, "--revisions", NEWEST, "--transports", "http"]
    assert cli.main(["matrix", *arguments, "--json", str(found)]) == 0
    rows = json.loads(found.read_text(encoding="utf-8"))["targets"]
    assert [(row["id"], row["role"]) for row in rows] == [("kailash", "server"), ("kailash", "client")]
    assert rows[0]["requirements"]["features-128"] == "PASS"
    assert cli.main(["matrix", "--targets", "kailash", "--scenarios", "nonsense"]) == 2
    assert cli.main(["matrix", "--roles", "judge"]) == 2
    assert "server, client" in capsys.readouterr().err


def test_the_table_of_agreement_names_what_there_is() -> None:
    for side in ("server", "client"):
        for scenario, row in agreement.rows_of(side).items():
            assert ("none" in row) != ("scenarios" in row), scenario
            for name in row.get("scenarios", ()):
                if name != "*":
                    [found] = choose(side, [name])
                    assert found.id == name
            covered = {rule for name in row.get("scenarios", ()) if name != "*" for s in choose(side, [name])
                       for rule in s.covers}  # fmt: skip
            assert set(row.get("rules", ())) <= set(requirements()), scenario
            assert covered or "none" in row or row["scenarios"] == ["*"]


@pytest.mark.interop
@pytest.mark.timeout(240)
def test_every_official_scenario_has_a_row() -> None:
    try:
        suite = install()
    except Unavailable as error:
        pytest.skip(str(error))
    for side in ("server", "client"):
        names = dict.fromkeys(suite.scenarios(Leg(side, None)), ("PASS", ""))  # type: ignore[arg-type]
        assert {row.scenario for row in agreement.compared(side, names, [], "nobody")} == set(names)
        for name in names:
            if name.startswith("auth/"):
                assert [each.id for each in choose(side, [name])] == [name]


def test_verdicts_are_compared() -> None:
    theirs = {
        "ping": ("PASS", ""),
        "sep-2164-resource-not-found": ("PASS", ""),
        "sep-2640-skills-manifest": ("VACUOUS", ""),
    }
    older, rule = list(revisions())[-2], load()["ping"].covers[0]
    ours = [Outcome("ping", "server", older, "http", [Check(rule, Verdict.PASS, "")]),
            Outcome("missing-resource", "server", NEWEST, "http", [Check(130, Verdict.FAIL, "empty")])]  # fmt: skip
    rows = agreement.compared("server", theirs, ours, "nobody")
    assert [(row.is_equal, row.is_explained) for row in rows] == [(True, True), (False, False), (False, True)]
    text = agreement.table(rows)
    assert "1 of 3 equal, 1 without a counterpart, 1 differ without an explanation" in text and "ours: empty" in text
    with pytest.raises(ValueError, match="no row"):
        agreement.compared("server", {"brand-new": ("PASS", "")}, [], "nobody")
