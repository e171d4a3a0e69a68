"""Coverage: which requirements a scenario looks at, and which cannot be seen from outside."""

import tomllib
from functools import cache
from pathlib import Path

from .clientmonitor import ALWAYS_OF_CLIENTS
from .monitor import ALWAYS
from .requirements import requirements
from .scenario import load

__all__ = ["covered", "missing", "untestable"]

_FILE = Path(__file__).parent / "requirements" / "open.toml"


@cache
def _table() -> dict[str, dict[str, dict[str, str]]]:
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))


def _rows(kind: str) -> dict[int, dict[str, str]]:
    found: dict[int, dict[str, str]] = {}
    for role, rows in _table().get(kind, {}).items():
        for numbers, reason in rows.items():
            for number in numbers.split(","):
                found.setdefault(int(number), {})[role] = reason
    return found


def untestable() -> dict[int, dict[str, str]]:
    """Return the rules that nobody can see kept or broken from outside, by role, and why."""
    return _rows("untestable")


def covered() -> dict[int, set[str]]:
    """Return the roles for which each rule is looked at."""
    found: dict[int, set[str]] = {rule: {"server"} for rule in ALWAYS if "server" in requirements()[rule].roles}
    for rule in ALWAYS_OF_CLIENTS:
        found.setdefault(rule, set()).add("client")
    for each in load().values():
        for rule in each.covers:
            found.setdefault(rule, set()).add(each.role)
    return found


def missing() -> list[tuple[int, str]]:
    """Return what is neither covered nor untestable."""
    seen, never = covered(), untestable()
    return [
        (number, role)
        for number, requirement in requirements().items()
        for role in requirement.roles
        if role not in seen.get(number, ()) and role not in never.get(number, {})
    ]
