"""The command line."""

import os
import select
import subprocess
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


def test_a_run_is_replayed_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "faulty.py"
    script.write_text(
        "from kailash.mcp_server import MCPServer\nserver = MCPServer('faulty')\n\n\n@server.tool\n"
        "async def test_error_handling() -> str:\n    return 'fine'\n\n\n@server.tool\n"
        "async def test_simple_text() -> str:\n    return 'text'\n\n\nserver.run('stdio')\n",
        encoding="utf-8",
    )
    report = tmp_path / "run.json"
    chosen = ["--scenarios", "tool-error,content-kinds", "--revisions", NEWEST, "--json", str(report)]
    assert cli.main(["server", "--command", f"{sys.executable} {script}", *chosen]) == 1
    assert "1 PASS, 1 FAIL of 2 runs" in capsys.readouterr().out
    assert cli.main(["server", "--replay", str(report)]) == 1
    assert "1 FAIL of 1 runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["server", "--command", "x", "--scenarios", "tols-list"], "tools-list"),
        (["server", "--command", "x", "--scenarios", "qqqq"], "unknown-tool"),
        (["server", "--command", "x", "--revisions", "2020-01-01"], NEWEST),
        (["server", "--command", "x", "--transports", "smoke"], "stdio, http, sse, websocket"),
        (["server", "--command", "x", "--fixtures", "none"], "official"),
        (["client", "--command", "x", "--transports", "smoke"], "stdio, http, sse, websocket"),
        (["client"], "--command"),
        (["explain", "features-1280"], "features-128"),
        (["compare", "none.json", "none.json"], "none.json"),
        (["server", "--command", "x", "--replay", "none.json"], "none.json"),
        (["agreement", "--target", "nobody"], "mcp-2.3.0"),
    ],
)
def test_unknown_names_are_told_the_known_ones(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", "server", "client", "list", "explain", "compare", "matrix", "agreement"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*command.split(), "--help"], prog="judge")
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert f"usage: judge {command}".strip() in told and ("{prog}" not in told)
    assert command not in ("", "server", "client") or "examples:" in told


def test_help_needs_little(tmp_path: Path) -> None:
    # What takes its time to import is not needed to say what there is: the judge starts in under 300 ms.
    heavy = ("jsonschema_rs", "kailash", "msgspec")
    program = (
        "import contextlib, sys\nfrom conformance import cli\n"
        "with contextlib.suppress(SystemExit): cli.main(['--help'])\n"
        f"print([m for m in sys.modules if m.split('.')[0] in {heavy}])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_hung_target_is_cut_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    # It answers the first two messages and then never again.
    program = (
        "import json, sys, time\n"
        "answer = {'supportedVersions': ['2026-07-28'], 'capabilities': {'tools': {}}, 'resultType': 'complete',"
        " 'ttlMs': 0, 'cacheScope': 'private', '_meta': {'io.modelcontextprotocol/serverInfo':"
        " {'name': 'hung', 'version': '1'}}}\n"
        "message = json.loads(sys.stdin.readline())\n"
        "print(json.dumps({'jsonrpc': '2.0', 'id': message['id'], 'result': answer}), flush=True)\n"
        "time.sleep(60)\n"
    )
    arguments = ["--command", f'{sys.executable} -c "{program}"', "--revisions", NEWEST, "--timeout", "0.5"]
    assert cli.main(["server", *arguments, "--scenarios", "tools-list"]) == 1
    told = capsys.readouterr()
    assert f"went silent: tools-list on {NEWEST}/stdio: no answer to" in told.out
    assert "FAIL 2026-07-28 stdio tools-list" in told.err


def test_who_is_told_to_end_ends_what_was_started(tmp_path: Path) -> None:
    mark = tmp_path / "started"
    os.mkfifo(mark)  # reading it waits for the server to have begun
    server = tmp_path / "server.py"
    server.write_text(f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)", "utf-8")
    command = [sys.executable, "-m", "conformance", "server", "--serve", f"{sys.executable} {server} {{port}}"]
    judge = subprocess.Popen([*command, "--url", "http://127.0.0.1:{port}/mcp"], stderr=subprocess.PIPE, text=True)
    child = os.pidfd_open(int(mark.read_text()))
    judge.terminate()
    _, told = judge.communicate(timeout=20)
    assert judge.returncode == 130 and "interrupted" in told
    assert select.select([child], [], [], 5)[0], "what was started still runs"
    os.close(child)
