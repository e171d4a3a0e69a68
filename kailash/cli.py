"""The command `kailash-mcp`: what there is to run from a shell."""

import argparse
import sys
from collections.abc import Sequence

from . import __version__
from ._judge import judge_module

__all__ = ["main"]


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
    status: int = judge_module("cli").main(given[1:], prog="kailash-mcp conformance")
    return status
