"""Without the extras: what needs one says which, and all else works."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
sys.modules["prometheus_client"] = sys.modules["opentelemetry"] = None
from kailash.mcp_server import MCPServer
server = MCPServer("x", enable_metrics=True, audit=True)
assert server.get_metrics()["tools_called"] == 0
assert "kailash_mcp_requests" in server.metrics.export_metrics("prometheus")
for use in ({uses}):
    try:
        use()
    except ImportError as error:
        print(error)
"""


@pytest.mark.parametrize(
    ("use", "extra"),
    [
        ("lambda: __import__('kailash.telemetry.registry')", "metrics"),
        ("lambda: MCPServer('x', tracing=True)", "otel"),
    ],
)
def test_a_missing_extra_is_named(use: str, extra: str) -> None:
    program = PROGRAM.format(uses=f"{use},")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert f'pip install "kailash-mcp-engine[{extra}]"' in done.stdout


def test_nothing_of_an_extra_is_loaded_unless_asked_for() -> None:
    program = (
        "import sys, kailash.mcp_server as m; m.MCPServer('x', enable_metrics=True); m.MCPClient; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "kailash" in loaded and not loaded & {"prometheus_client", "opentelemetry"}
