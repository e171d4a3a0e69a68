"""Everything a reader can copy runs: the README's blocks, the docstrings' examples, the files under `examples/`."""

import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
README = (HOME / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run(*command: str, cwd: Path) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "-W", "error", *command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_has_a_server_a_client_and_the_engine_alone() -> None:
    assert len(BLOCKS) == 3
    assert all(block.count("\n") <= 26 for block in BLOCKS), "short enough to read"


@pytest.mark.integration
def test_the_readmes_server_and_client_meet(tmp_path: Path) -> None:
    (tmp_path / "weather.py").write_text(BLOCKS[0])
    (tmp_path / "client.py").write_text(BLOCKS[1])
    assert run("client.py", cwd=tmp_path).splitlines() == ["['forecast']", "Springfield, Ohio clear"]


@pytest.mark.integration
def test_the_readmes_engine_answers(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(BLOCKS[2])
    assert '"text":"hello"' in run("own.py", cwd=tmp_path)


def test_the_readmes_map_names_files_that_exist() -> None:
    rows = re.findall(r"^\| (`.*?) \|", README, re.MULTILINE)
    assert len(rows) > 12
    folder = HOME
    for row in rows:
        for name in re.findall(r"`([^`]+)`", row):
            if "/" in name and not (HOME / name).is_dir():
                folder = (HOME / name).parent
            if not (HOME / name).exists():
                assert (folder / name).exists(), name


@pytest.mark.integration
def test_the_demo_runs() -> None:
    assert run("examples/demo.py", cwd=HOME).endswith("demo: all good\n")


MODULES = sorted(
    str(path.relative_to(HOME).with_suffix("")).replace(os.sep, ".")
    for package in ("kailash", "protocol")
    for path in (HOME / package).rglob("*.py")
    if ">>>" in path.read_text()
)


def test_some_docstrings_have_examples() -> None:
    assert MODULES


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried and not failed
