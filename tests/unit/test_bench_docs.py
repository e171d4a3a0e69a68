"""`docs/benchmarks.md`: its commands are accepted, its table is the program's, and the files it names exist."""

import re
import shlex
from pathlib import Path

import pytest

from benchmarks.cli import arguments_of
from benchmarks.peering import PEERS
from benchmarks.questions import QUESTIONS

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "benchmarks.md").read_text()
_COMMANDS = re.findall(r"^python -m benchmarks (.*)$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("command", _COMMANDS)
def test_every_command_is_one(command: str) -> None:
    arguments_of(shlex.split(command))


def test_there_are_commands() -> None:
    assert {command.split()[0] for command in _COMMANDS} == {"run", "list", "compare"}


def test_the_table_has_every_question_as_the_program_has_it() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \|$", TEXT, re.MULTILINE)
    assert rows == [
        (row.name, row.summary, ", ".join(row.peers) or "–", "yes" if row.is_short else "")
        for row in QUESTIONS.values()
    ]


def test_what_it_names_exists() -> None:
    named = re.findall(r"`((?:benchmarks|tests)/[\w/.]+)`", TEXT)
    assert len(named) >= 5
    assert all((ROOT / name).exists() for name in named)
    targets = re.findall(r"^make ([a-z-]+)", TEXT, re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text()
    assert targets and all(f"\n{target}:" in makefile for target in targets)
    assert set(re.findall(r"--against (\w+)", TEXT)) <= set(PEERS)
