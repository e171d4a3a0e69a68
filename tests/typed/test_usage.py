"""A reader's strict type checker has nothing to say about ordinary use, and something about misuse."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def check(path: Path) -> str:
    """Return what mypy says of a file."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(path)],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout + done.stderr


def test_ordinary_use_is_typed() -> None:
    assert "Success" in (said := check(HERE / "usage.py")), said


def test_misuse_is_found(tmp_path: Path) -> None:
    misuse = tmp_path / "misuse.py"
    text = (HERE / "usage.py").read_text()
    misuse.write_text(text.replace("one: int = bare(1)", 'one: str = bare("1")'))
    said = check(misuse)
    assert said.count("error:") == 2 and "incompatible type" in said, said
