"""Known implementations: what `targets/*.toml` says of each, and how it is got and started.

    title, version, language    what it is called
    fixtures                    the fixture file that fits it
    timeout                     seconds for an answer, where the usual ones are too few to start in
    [install]                   self = true, or python = [requirements], or npm = "folder of a lock file"
    [server] stdio, http, url   commands: `{port}` stands for the port
    [client] command            the address of a server is appended; transports: those it has

In commands `{python}` and `{node}` are interpreters, `{home}` is where npm's packages are, `{here}` the folder of the
descriptions and `{package}` the judge's own package.
"""

import shutil
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .environments import HOME, make_venv
from .fixture import Fixtures, read_fixtures
from .install import install_packages
from .target import ServerTarget

__all__ = ["Known", "Prepared", "known_targets", "prepare"]

_FOLDER = Path(__file__).parent / "targets"


@dataclass(frozen=True, slots=True)
class Known:
    """One known implementation."""

    id: str
    title: str
    version: str
    language: str
    fixtures: str
    timeout: float
    install: dict[str, Any]
    server: dict[str, str]
    client: dict[str, Any]

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"{self.title} {self.version}"

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles in which it can be judged."""
        return (*(("server",) if self.server else ()), *(("client",) if self.client else ()))


@dataclass(frozen=True, slots=True)
class Prepared:
    """One known implementation that can be started."""

    known: Known
    places: dict[str, str]

    @property
    def fixtures(self) -> Fixtures:
        """What its server exposes."""
        return read_fixtures(self.known.fixtures)

    def _filled(self, command: str | None) -> str | None:
        if command is None:
            return None
        for name, place in self.places.items():
            command = command.replace(f"{{{name}}}", place)
        return command

    def server(self) -> ServerTarget:
        """Return its server."""
        server = self.known.server
        serve = self._filled(server.get("http"))
        url = server.get("url", "http://127.0.0.1:{port}/mcp") if serve else None
        return ServerTarget(command=self._filled(server.get("stdio")), serve=serve, url=url)

    def client(self) -> str:
        """Return the command of its client."""
        return self._filled(self.known.client["command"]) or ""


def known_targets(names: Sequence[str] = ()) -> list[Known]:
    """Return the known implementations of these names; without names all.

    Raises:
        ValueError: a name that is none; the message lists those there are.
    """
    found = {path.stem: _read(path) for path in sorted(_FOLDER.glob("*.toml"))}
    unknown = [name for name in names if name not in found]
    if unknown:
        raise ValueError(f"no target is named {', '.join(unknown)}; there are {', '.join(found)}")
    return [found[name] for name in names] if names else list(found.values())


def _read(path: Path) -> Known:
    row = tomllib.loads(path.read_text(encoding="utf-8"))
    return Known(
        id=path.stem,
        title=row["title"],
        version=row["version"],
        language=row["language"],
        fixtures=row["fixtures"],
        timeout=float(row.get("timeout", 5.0)),
        install=row["install"],
        server=row.get("server", {}),
        client=row.get("client", {}),
    )


def prepare(known: Known) -> Prepared:
    """Get what an implementation needs, in an environment of its own, if that was not yet done.

    Raises:
        Unavailable: a registry does not answer, or an interpreter is missing.
        RuntimeError: its installation failed.
    """
    places = {"here": str(_FOLDER), "package": __package__ or "conformance", "python": sys.executable}
    if "python" in known.install:
        places["python"] = str(make_venv(known.id, known.install["python"]))
    if "npm" in known.install:
        locked = _FOLDER / known.install["npm"]
        home = HOME / f"targets-{known.install['npm']}"
        places["node"] = str(install_packages(locked, home))
        places["home"] = str(home)
        for script in locked.glob("*.mjs"):
            # Node looks for packages beside the script.
            shutil.copy(script, home / script.name)
    return Prepared(known, places)
