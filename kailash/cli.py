"""The command `kailash-mcp`: what there is to run from a shell."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from . import __version__

__all__ = ["main"]

_JUDGES = ("kailash.conformance", "conformance")
"""Where the judge is: beside this module after an install, beside this package in a checkout."""


def _judge() -> Any:
    for name in _JUDGES:
        try:
            return importlib.import_module(f"{name}.cli")
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
    raise SystemExit("kailash-mcp: this installation has no judge; reinstall kailash-mcp-engine")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kailash-mcp",
        description="Tools of Kailash MCP, an engine for the Model Context Protocol.",
        epilog="`kailash-mcp COMMAND --help` says more of a command.",
    )
    parser.add_argument("--version", action="version", version=f"kailash-mcp {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("conformance", help="judge a server or a client of any make", add_help=False)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # What follows a command is the command's own affair, its `--help` too.
    _parser().parse_args(given[:1])
    status: int = _judge().main(given[1:], prog="kailash-mcp conformance")
    return status
