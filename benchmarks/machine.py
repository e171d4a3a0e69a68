"""What was measured on: without it no figure means anything."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .harness import CORES

__all__ = ["OURS", "describe", "note"]

OURS = ("anyio", "msgspec", "h11", "httptools", "uvloop", "trio", "wsproto", "jsonschema-rs")
"""The packages whose versions decide our figures."""


def describe() -> dict[str, str | int | float]:
    """Return the machine, the interpreter, and how busy it was at the start."""
    return {
        "cpu": _cpu(),
        "cores": len(CORES),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "kailash": _version("kailash-mcp-engine"),
        "packages": ", ".join(f"{name} {_version(name)}" for name in OURS),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else -1.0,
    }


_IDLE = 0.75
"""The load, averaged over the minute before, that is still no other's: starting a run makes some."""


def note(machine: dict[str, str | int | float], peers: dict[str, str]) -> list[str]:
    """Return the lines that say it."""
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['kernel']}, {machine['python']}",
        f"load {machine['load']} at the start"
        + (": others were at work, so these figures are not to be cited" if float(machine["load"]) > _IDLE else ""),
        f"ours {machine['kailash']} with {machine['packages']}",
    ]
    if peers:
        lines.append("peers: " + ", ".join(f"{name} ({runs_on})" for name, runs_on in peers.items()))
    return lines


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


if __name__ == "__main__":
    sys.stdout.write("\n".join(note(describe(), {})) + "\n")
