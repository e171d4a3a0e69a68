"""Fixtures: what a server under test exposes, as data, so that a scenario knows what to call.

A fixture file is TOML: `[tools.KEY]`, `[resources.KEY]`, `[prompts.KEY]` with the target's own `name` (or `uri`) and
`arguments`. `fixtures/official.toml` lists the keys; a target that lacks one leaves the row out, and the scenarios that
need it are skipped.
"""

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Fixtures", "read_fixtures"]

_FOLDER = Path(__file__).parent / "fixtures"


@dataclass(frozen=True, slots=True)
class Fixtures:
    """The rows of one fixture file."""

    rows: dict[str, dict[str, dict[str, Any]]]

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return a row; `None` if the target has no such fixture."""
        return self.rows.get(kind, {}).get(name)

    def there(self, names: Mapping[str, Collection[str]], templates: Collection[str]) -> tuple["Fixtures", list[str]]:
        """Leave out the rows that the target does not list; return also their names.

        Args:
            names: of tools and prompts, and the addresses of resources; a kind that could not be listed is not in it.
            templates: of addresses.
        """
        kept: dict[str, dict[str, dict[str, Any]]] = {}
        absent: list[str] = []
        for kind, table in self.rows.items():
            kept[kind] = {}
            for key, row in table.items():
                name = row.get("uri", row.get("name", ""))
                is_there = kind not in names or name in names[kind] or (kind, key) == ("resources", "missing")
                is_there = is_there or any(name.startswith(each.partition("{")[0]) for each in templates)
                if is_there:
                    kept[kind][key] = row
                else:
                    absent.append(f"{kind}.{key}")
        return Fixtures(kept), absent


def read_fixtures(name: str = "official") -> Fixtures:
    """Read a fixture file, by its path or by the name of one that comes with the judge.

    Raises:
        ValueError: there is no such file, or it holds no fixtures.
    """
    path = Path(name)
    if not path.suffix:
        path = _FOLDER / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in _FOLDER.glob("*.toml")))
        raise ValueError(f"no fixture file {name!r}; give a path, or one of {known}")
    found = tomllib.loads(path.read_text(encoding="utf-8"))
    base = found.pop("base", None)
    rows: dict[str, dict[str, dict[str, Any]]] = dict(read_fixtures(base).rows) if base else {}
    for kind, table in found.items():
        rows[kind] = {**rows.get(kind, {}), **table}
    return Fixtures(rows)
