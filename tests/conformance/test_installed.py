"""The judge after an install: the wheel holds it, and `kailash-mcp` runs it from anywhere."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kailash import __version__
from kailash.cli import main

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]


def _run(*command: str, cwd: Path, status: int = 0) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout."""
    place = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*pip, "--wheel-dir", str(place), str(ROOT)], capture_output=True, text=True, check=False)
    if done.returncode and "No matching distribution found" in done.stderr:
        pytest.skip(f"what builds the wheel cannot be had: {done.stderr.strip()[-300:]}")
    assert done.returncode == 0, done.stderr
    return next(place.glob("*.whl"))


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that holds the wheel, and what it depends on from the one of the tests."""
    place = tmp_path_factory.mktemp("venv")
    _run(sys.executable, "-m", "venv", "--without-pip", str(place), cwd=place)
    pip = [sys.executable, "-m", "pip", "--python", str(place / "bin" / "python"), "--disable-pip-version-check"]
    _run(*pip, "install", "--quiet", "--no-deps", str(wheel), cwd=place)
    [packages] = place.glob("lib/python*/site-packages")
    [ours] = [path for path in sys.path if path.endswith("site-packages")][:1]
    # Its `.pth` files, among them the one of the editable install, do not count there: only its packages do.
    (packages / "dependencies.pth").write_text(ours + "\n", encoding="utf-8")
    return place / "bin"


def test_the_wheel_holds_the_judge_and_its_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = ["cli.py", "schema/2026-07-28.json", "requirements/base.toml", "targets/mcp/server.py", "npm/package.json",
              "targets/typescript/server.mjs", "fixtures/official.toml", "agreement.toml"]  # fmt: skip
    assert not [name for name in wanted if f"kailash/conformance/{name}" not in names]
    assert not [name for name in names if "__pycache__" in name or name.startswith(("tests/", "conformance/"))]


def test_the_command_says_its_version_and_its_commands(bin_folder: Path, tmp_path: Path) -> None:
    program = str(bin_folder / "kailash-mcp")
    assert _run(program, "--version", cwd=tmp_path).strip() == f"kailash-mcp {__version__}"
    assert "conformance" in _run(program, "--help", cwd=tmp_path)
    assert "kailash-mcp conformance server" in _run(program, "conformance", "--help", cwd=tmp_path)
    assert "unknown-tool" in _run(program, "conformance", "list", cwd=tmp_path)


def test_an_installed_judge_judges(bin_folder: Path, tmp_path: Path) -> None:
    program, python = str(bin_folder / "kailash-mcp"), str(bin_folder / "python")
    command = f"{python} -m kailash.conformance.targets.ours.server --stdio"
    chosen = ["--scenarios", "tools-list,unknown-tool", "--revisions", "2025-11-25,2026-07-28"]
    told = _run(program, "conformance", "server", "--command", command, *chosen, cwd=tmp_path)
    assert "4 PASS of 4 runs" in told
    # The judge is not the one of the checkout.
    where = "import kailash.conformance, sys; print(kailash.conformance.__file__)"
    assert str(bin_folder.parent) in _run(python, "-c", where, cwd=tmp_path)


def test_in_a_checkout_the_command_runs_the_judge_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", "explain", "schema-226"]) == 0
    assert "schema" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["nonsense"])
    assert ended.value.code == 2 and "conformance" in capsys.readouterr().err
