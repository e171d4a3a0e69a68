"""The command line."""

import sys
from pathlib import Path

import pytest

from conformance import cli
from conformance.requirements import revisions

OURS = f"{sys.executable} -m conformance.targets.ours"
NEWEST = list(revisions())[-1]


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
