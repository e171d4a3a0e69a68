"""Every name a module promises exists, and the package lists each public name itself."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import protocol

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in ("protocol", "kailash")
    for path in (ROOT / package).rglob("*.py")
    if path.name not in ("trionative.py", "__main__.py")
)

OPEN_TO_EMBEDDERS = (
    # Modules whose every public name an embedding user needs, and is therefore a name of the package.
    "capabilities",
    "client",
    "engine",
    "errors",
    "events",
    "limits",
    "params",
    "pipe",
    "results",
    "types",
)
RENAMED = {("results", "Result"): "ResultBase", ("types", "Role"): None, ("types", "InputRequest"): None}
"""Names that mean something else in the package: an event, a side of the protocol, a question that was asked."""
INTERNAL = {("capabilities", "has"), ("capabilities", "missing"), ("params", "ListRootsParams")}


@pytest.mark.parametrize("name", MODULES)
def test_every_promised_name_exists(name: str) -> None:
    module = importlib.import_module(name)
    promised = list(getattr(module, "__all__", ()))
    assert len(promised) == len(set(promised))
    for promise in promised:
        assert getattr(module, promise, None) is not None or hasattr(module, promise)


@pytest.mark.parametrize("name", OPEN_TO_EMBEDDERS)
def test_the_package_has_the_public_names_of(name: str) -> None:
    module = importlib.import_module(f"protocol.{name}")
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    public = set(getattr(module, "__all__", [each for each in defined if not each.startswith("_")]))
    for each in public:
        if (name, each) in INTERNAL:
            continue
        exported = RENAMED.get((name, each), each)
        if exported is not None:
            assert exported in protocol.__all__
            assert getattr(protocol, exported) is getattr(module, each)


def test_the_package_imports_names_one_by_one_and_runs_nothing() -> None:
    tree = ast.parse(Path(str(protocol.__file__)).read_text(encoding="utf-8"))
    kinds = {type(node) for node in tree.body}
    assert kinds == {ast.Expr, ast.ImportFrom, ast.Assign}
    assert not [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"]


def test_importing_the_engine_loads_nothing_that_does_io() -> None:
    program = (
        "import sys, protocol; print(*sorted({'asyncio', 'anyio', 'trio', 'socket', 'ssl', 'json'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""


def test_a_server_on_its_own_stdio_loads_nothing_of_http() -> None:
    program = (
        "import sys; from kailash.mcp_server import MCPServer; server = MCPServer('x'); server.run();"
        "print([name for name in ('h11', 'argparse', 'protocol.http', 'uvloop') if name in sys.modules],"
        " file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"
