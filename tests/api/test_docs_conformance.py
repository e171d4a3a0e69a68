"""`docs/conformance.md`: its programs and commands run as they stand, and say what the page says."""

import asyncio
import re
import shlex
import sys
from pathlib import Path

import pytest

from conformance.arguments import make_parser
from conformance.check import Verdict
from conformance.memory import assert_conformant
from conformance.scenario import SCENARIOS, load
from kailash import cli
from kailash.mcp_server import MCPServer

PAGE = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
FILES = {name: text for _, text in BLOCKS for name in re.findall(r"\A# (\S+\.\w+)\n", text)}
COMMANDS = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]

STATUS = {"faulty.py": 1, "--replay": 1, "--baseline": 0, "compare": 0, "--scenarios client-uses": 0}
"""The exit status, where it is not 0: the last that fits."""

pytestmark = pytest.mark.timeout(240)


def _words(command: str) -> list[str]:
    program, judge, *rest = shlex.split(command)
    assert (program, judge) == ("kailash-mcp", "conformance"), command
    return [word.replace("python ", f"{sys.executable} ") for word in rest]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of the page, which is the current one."""
    for name, text in FILES.items():
        if "/" not in name:
            (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


NARROWED = {
    'my_server.py"': "--scenarios tools-list,initialize,discover,unknown-tool,pages,content-kinds,resources-read",
    "my_client.py": "--timeout 20",
    "--fixtures": "--scenarios content-kinds,wrong-arguments,resources-read",
}
"""What the tests add to commands that judge everything, to be done sooner, and on a machine that is busy."""

RUN = [each for each in COMMANDS if each.startswith("kailash-mcp") and "--url http" not in each]


def test_the_commands_do_what_the_page_says(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(RUN) >= 10
    for command in RUN:
        status = [status for mark, status in STATUS.items() if mark in command]
        less = [word for mark, more in NARROWED.items() if mark in command for word in more.split()]
        assert cli.main(["conformance", *_words(command), *less]) == (status[-1] if status else 0), command
        if "--details" in command:
            told = capsys.readouterr().out
            [shown] = [text for kind, text in BLOCKS if kind == "text"]
            for line in shown.splitlines():
                assert line in told, told
    for name in ("run.json", "run.html", "judged.xml", "matrix.html"):
        assert (place / name).stat().st_size > 500


@pytest.mark.parametrize("command", [*COMMANDS, *re.findall(r"- run: (kailash-mcp.*)", PAGE)])
def test_the_commands_are_ones_there_are(command: str) -> None:
    if command.startswith("kailash-mcp"):
        make_parser("kailash-mcp conformance").parse_args(_words(command))
    else:
        assert command == "pip install kailash-mcp-engine"


def test_the_test_of_the_page_passes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, object] = {}
    exec(compile(FILES["test_mine.py"], "test_mine.py", "exec"), names)
    asyncio.run(names["test_my_server_keeps_to_the_specification"]())  # type: ignore[operator]
    monkeypatch.delitem(sys.modules, "my_server")


def test_the_scenario_of_the_page_judges() -> None:
    load()
    exec(compile(FILES["conformance/scenarios/server/mine.py"], "mine.py", "exec"), {})
    try:
        server = MCPServer("mine")
        server.tool(test_the_commands_are_ones_there_are, name="any")
        outcomes = asyncio.run(assert_conformant(server, scenarios=["tools-are-described"]))
        assert {outcome.verdict for outcome in outcomes} == {Verdict.PASS} and len(outcomes) == 5
    finally:
        SCENARIOS.pop("tools-are-described")
