"""The rules that are judged, as data: one file of requirements for each area, and the revisions they belong to."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["Requirement", "Revision", "find", "requirements", "revisions"]

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Revision:
    """One dated specification, as a judge sees it."""

    name: str
    era: str
    """`handshake` or `envelope`."""
    transports: tuple[str, ...]
    index: int
    batching: bool = False
    version_header: bool = False

    @property
    def is_envelope(self) -> bool:
        """Tell whether each request describes itself."""
        return self.era == "envelope"

    @property
    def letter(self) -> str:
        """The letter by which scenarios name the revision, `A` the oldest."""
        return "ABCDEFGH"[self.index]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One rule of the specification that can be checked from outside."""

    number: int
    id: str
    level: str
    """`MUST`, `SHOULD` or `MAY`; see `level_in`."""
    roles: tuple[str, ...]
    since: str
    until: str
    transports: tuple[str, ...]
    address: str
    text: str
    should_in: tuple[str, ...] = ()
    """Revisions that only advise what others demand."""

    def level_in(self, revision: Revision) -> str:
        """Return how strongly a revision puts the rule."""
        return "SHOULD" if revision.name in self.should_in else self.level

    def applies(self, revision: Revision, transport: str, role: str) -> bool:
        """Tell whether the rule binds that role, in that revision, over that transport."""
        table = revisions()
        return (
            role in self.roles
            and transport in self.transports
            and table[self.since].index <= revision.index <= table[self.until].index
        )


@cache
def revisions() -> dict[str, Revision]:
    """Return the revisions by name, oldest first."""
    rows = tomllib.loads((_FOLDER / "revisions.toml").read_text(encoding="utf-8"))["revision"]
    return {
        row["name"]: Revision(**{**row, "transports": tuple(row["transports"]), "index": index})
        for index, row in enumerate(rows)
    }


@cache
def requirements() -> dict[int, Requirement]:
    """Return every requirement by its number."""
    found: dict[int, Requirement] = {}
    for path in sorted(_FOLDER.glob("*.toml")):
        for row in tomllib.loads(path.read_text(encoding="utf-8")).get("requirement", ()):
            lists = {name: tuple(row[name]) for name in ("roles", "transports", "should_in") if name in row}
            found[row["number"]] = Requirement(**{**row, **lists})
    return dict(sorted(found.items()))


def find(name: str) -> Requirement | None:
    """Find a requirement by its number or its id."""
    for requirement in requirements().values():
        if name in (str(requirement.number), requirement.id):
            return requirement
    return None
