"""The Autobahn test suite against our WebSocket in both roles, where there is a Python 2.7 for it.

Left out are what we refuse, binary messages, and what only measures speed. `AUTOBAHN_CASES` names others: `*` for all.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from . import wire
from .peers import autobahn_command
from .processes import ROOT, free_port, program

CASES = os.environ.get(
    "AUTOBAHN_CASES",
    "1.1.* 2.* 3.* 4.* 5.* 6.* 7.* 9.1.1 9.3.1 9.5.1 9.7.1 10.* 12.1.1 12.1.10 12.4.1 13.1.1 13.7.1",
).split()
# With binary messages: those of 1.2, of every other group of 9, and of 12.2, 12.3 and 12.5.
BINARY = ["1.2.*", "9.2.*", "9.4.*", "9.6.*", "9.8.*", "12.2.*", "12.3.*", "12.5.*"]
ECHO = str(wire.SCRIPTS / "autobahn_echo.py")

GOOD = {"OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED"}
"""How a case may end: not strict is who finds bad UTF-8 only at the end of a message; windows of another size than the
largest are declined."""

pytestmark = pytest.mark.timeout(1800 if "*" in CASES else 300)


def judge(folder: Path) -> None:
    """Check that no case failed, by the suite's own report."""
    report: dict[str, dict[str, Any]] = json.loads((folder / "index.json").read_text())
    [cases] = report.values()
    failed = {
        name: (case["behavior"], case["behaviorClose"])
        for name, case in cases.items()
        if case["behavior"] not in GOOD or case["behaviorClose"] not in GOOD
    }
    assert not failed
    assert len(cases) > 200 and sum(case["behavior"] == "OK" for case in cases.values()) > 200
    counts = {one: sum(case["behavior"] == one for case in cases.values()) for one in sorted(GOOD)}
    print(f"autobahn: {counts}")


def test_our_server_passes_the_suite(tmp_path: Path) -> None:
    with program([sys.executable, ECHO, "server"], r"listening (\d+)", {"PYTHONPATH": str(ROOT)}) as server:
        spec = {
            "outdir": str(tmp_path),
            "servers": [{"agent": "kailash", "url": f"ws://127.0.0.1:{server.port()}"}],
            "cases": CASES,
            "exclude-cases": BINARY,
            "exclude-agent-cases": {},
        }
        (tmp_path / "spec.json").write_text(json.dumps(spec))
        subprocess.run(
            autobahn_command("fuzzingclient", tmp_path / "spec.json"),
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
        )
    judge(tmp_path)


def test_our_client_passes_the_suite(tmp_path: Path) -> None:
    port = free_port()
    spec = {"url": f"ws://127.0.0.1:{port}", "outdir": str(tmp_path), "cases": CASES, "exclude-cases": BINARY}
    (tmp_path / "spec.json").write_text(json.dumps({**spec, "exclude-agent-cases": {}}))
    with program(autobahn_command("fuzzingserver", tmp_path / "spec.json"), r"Ok, will run (\d+) test cases"):
        subprocess.run(
            [sys.executable, ECHO, "client", f"ws://127.0.0.1:{port}", "kailash"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            check=True,
        )
    judge(tmp_path)
