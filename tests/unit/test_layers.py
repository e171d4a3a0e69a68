"""The dependency direction of design.md 2.1, and what holds for every file, read from the sources themselves."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("protocol", "kailash")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

LONGEST = 600
"""Lines of a file; there is no list of exceptions."""

PURE_STDLIB = frozenset(
    {
        "abc",
        "base64",
        "binascii",
        "collections",
        "dataclasses",
        "enum",
        "functools",
        "hashlib",
        "heapq",
        "hmac",
        "itertools",
        "logging",
        "re",
        "types",
        "typing",
        "urllib",
    }
)
"""The stdlib that `protocol` may import: nothing here does I/O, tells time or draws lots."""

PURE = PURE_STDLIB | {"msgspec"}
WIRE_LIBRARIES = {
    "protocol/model.py": {"orjson"},
    "protocol/framing/http11.py": {"h11", "httptools"},
    "protocol/framing/websocket.py": {"wsproto"},
    "protocol/framing/deflate.py": {"zlib"},
}

STDLIB = frozenset(sys.stdlib_module_names)
SCHEMA_LIBRARIES = {"msgspec", "jsonschema_rs", "fastjsonschema"}
LIBRARIES = {
    # What each package of kailash may import besides the stdlib and its siblings below.
    "kailash/adapters": {"protocol", "anyio", "trio"},
    "kailash/schema": SCHEMA_LIBRARIES | {"protocol"},
    "kailash/resilience": set(),
    "kailash/auth": {"protocol", "msgspec", "authlib", "joserfc"},
    "kailash/stores": {"protocol", "msgspec", "anyio", "coredis"},
    "kailash/telemetry": {"protocol", "msgspec", "opentelemetry", "prometheus_client"},
}
SIBLINGS = {
    # Which packages of kailash each may import; `errors` and `_guard` are base modules.
    "kailash/adapters": set(),
    "kailash/schema": {"errors"},
    "kailash/resilience": {"errors"},
    "kailash/auth": {"errors"},
    "kailash/stores": {"errors", "adapters", "resilience"},
    "kailash/telemetry": {"errors"},
    "kailash/mcp_client": {"errors", "adapters", "schema", "resilience", "auth", "telemetry"},
    "kailash/discovery": {"errors", "adapters", "schema", "resilience", "auth", "mcp_client"},
}
FORBIDDEN_STDLIB = {
    "kailash/schema": {"time", "asyncio", "socket"},
    "kailash/resilience": {"time", "asyncio", "socket"},
    "kailash/auth": {"asyncio", "time", "socket"},
}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield each import of a file as an absolute dotted name, and whether it stands at the top of the module."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                # `from .. import x` may name a module, `from ..x import y` surely names one.
                yield (f"{module}.{alias.name}" if node.module is None else module), id(node) in top


def _section(name: str) -> str:
    return "/".join(name.split("/")[:2])


def _sibling(imported: str) -> str:
    parts = imported.split(".")
    return parts[1] if len(parts) > 1 else ""


PROTOCOL_FILES = [path for path in FILES if _name(path).startswith("protocol/")]
KAILASH_FILES = [path for path in FILES if _name(path).startswith("kailash/")]


@pytest.mark.parametrize("path", PROTOCOL_FILES, ids=_name)
def test_protocol_imports_nothing_that_does_io(path: Path) -> None:
    permitted = PURE | WIRE_LIBRARIES.get(_name(path), set())
    strays = {name for name, _ in _imports(path) if name.split(".")[0] not in permitted | {"protocol"}}
    assert not strays
    assert not {name for name, _ in _imports(path) if name.startswith("urllib") and name != "urllib.parse"}


@pytest.mark.parametrize("path", PROTOCOL_FILES, ids=_name)
def test_protocol_is_not_asynchronous(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, (ast.AsyncFunctionDef, ast.Await))]


@pytest.mark.parametrize("path", KAILASH_FILES, ids=_name)
def test_kailash_packages_import_only_what_lies_below_them(path: Path) -> None:
    section = _section(_name(path))
    libraries = LIBRARIES.get(section)
    siblings = SIBLINGS.get(section)
    own = section.split("/")[1]
    for imported, _ in _imports(path):
        root = imported.split(".")[0]
        if root == "kailash":
            sibling = _sibling(imported)
            known = siblings is None or sibling in siblings | {own, "", "__version__"}
            assert known, f"{section} imports {imported}"
        elif root in STDLIB:
            assert root not in FORBIDDEN_STDLIB.get(section, set()), f"{section} imports {imported}"
        elif libraries is not None:
            assert root in libraries, f"{section} imports {imported}"


@pytest.mark.parametrize("path", KAILASH_FILES, ids=_name)
def test_trio_is_imported_only_where_it_runs(path: Path) -> None:
    if path.name != "trionative.py":
        assert not [name for name, at_top in _imports(path) if name.split(".")[0] == "trio" and at_top]


def test_the_trio_module_is_imported_only_lazily() -> None:
    for path in KAILASH_FILES:
        assert not [name for name, at_top in _imports(path) if name.endswith(".trionative") and at_top], _name(path)


def test_only_the_engine_knows_nothing_of_kailash() -> None:
    for path in PROTOCOL_FILES:
        assert not [name for name, _ in _imports(path) if name.split(".")[0] == "kailash"], _name(path)


_DATE = re.compile(r"20\d\d-\d\d-\d\d")


def _literals(path: Path) -> Iterator[str]:
    """Yield the strings of a file that are values, not documentation."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_revision_dates_stand_only_in_the_revision_table(path: Path) -> None:
    if _name(path) != "protocol/revisions.py":
        assert not [text for text in _literals(path) if _DATE.fullmatch(text.strip())]


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_no_file_is_too_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_nothing_prints(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [func for func in calls if isinstance(func, ast.Name) and func.id == "print"]


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_every_module_says_what_belongs_in_it(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring and docstring.splitlines()[0][-1] in ".:", "a first line that is a sentence"
