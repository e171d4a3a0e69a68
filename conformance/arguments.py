"""The arguments of the command line: every command and option, with words for everybody."""

import argparse
from pathlib import Path
from typing import Any

__all__ = ["make_parser"]

_ABOUT = """\
Judges implementations of the Model Context Protocol: servers and clients of any make, in every revision,
over stdio, Streamable HTTP, HTTP+SSE and WebSocket. Each verdict comes with what passed on the wire.

  PASS  the rule was kept            WARN  something that is advised is missed
  FAIL  something demanded is missed SKIP  not tested: never counts as a pass

The exit status is 0 if every rule was kept, 1 if one was broken, 2 if nothing could be judged.
"""
_EXAMPLES = """\
examples:
  {prog} server --command "python my_server.py"
  {prog} server --url http://127.0.0.1:8000/mcp --html report.html
  {prog} client --command "python my_client.py" --revisions 2025-11-25
  {prog} explain features-128
  {prog} matrix --targets typescript,mcp-2.3.0
`{prog} COMMAND --help` says more of a command.
"""
_SERVER = """\
Judges a server. Start it here with --command (it speaks on its standard streams) or with --serve (it
serves a port), or say where it runs with --url.
"""
_SERVER_EXAMPLES = """\
examples:
  {prog} server --command "node server.mjs"
  {prog} server --serve "python server.py --port {{port}}" --url "http://127.0.0.1:{{port}}/mcp"
  {prog} server --url http://127.0.0.1:8000/mcp --url ws://127.0.0.1:8000/ws --json run.json
  {prog} server --replay run.json --details
What the server should expose is data: `--fixtures FILE`; without it, what `official` names.
"""
_CLIENT = """\
Judges a client. The judge serves, starts the client with the address of its server appended (a URL, or the
command of a server on its standard streams), and watches. The client should connect, call each tool, read
each resource and get each prompt, and end with a status other than 0 if any of that fails. Its environment
holds MCP_CONFORMANCE_PROTOCOL_VERSION, the revision that is spoken, and MCP_CONFORMANCE_SCENARIO.
"""
_CLIENT_EXAMPLES = """\
examples:
  {prog} client --command "python my_client.py"
  {prog} client --command "node client.mjs" --transports http --junit report.xml
"""


def make_parser(prog: str) -> argparse.ArgumentParser:
    """Return the parser; `prog` is what a user types to get here."""
    parser = argparse.ArgumentParser(prog=prog, **_told(prog, _ABOUT, _EXAMPLES))
    commands = parser.add_subparsers(dest="command_name", required=True, metavar="COMMAND")
    server = commands.add_parser("server", help="judge a server", **_told(prog, _SERVER, _SERVER_EXAMPLES))
    server.add_argument("--command", help="starts it on its standard streams")
    server.add_argument(
        "--url",
        action="append",
        default=[],
        help="where it serves: http(s):// Streamable HTTP, ws(s):// WebSocket, a path that ends in /sse, or sse=URL, "
        "HTTP+SSE (http=URL: not that); once for each transport",
    )
    server.add_argument("--serve", help="starts it to serve; {port} stands for the port, also in each --url")
    server.add_argument("--fixtures", help="a fixture file, or the name of one that comes along; default: official")
    server.add_argument("--token", help="a bearer token that it takes: env:NAME, file:PATH, or the token itself")
    server.add_argument(
        "--tokens", type=Path, help="a TOML file of tokens: good, narrow, broad, expired, foreign; tool"
    )
    client = commands.add_parser("client", help="judge a client", **_told(prog, _CLIENT, _CLIENT_EXAMPLES))
    client.add_argument("--command", help="starts it; the URL, or the command of a server, is appended")
    for each in (server, client):
        _add_run(each)
    _add_questions(commands)
    return parser


def _told(prog: str, about: str, examples: str) -> dict[str, Any]:
    return {
        "description": about,
        "epilog": examples.format(prog=prog),
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }


def _add_run(each: argparse.ArgumentParser) -> None:
    what = each.add_argument_group("what is judged")
    what.add_argument("--revisions", default="", help="names, with commas between them; default: all it speaks")
    what.add_argument("--transports", default="", help="of stdio,http,sse,websocket; default: all that were given")
    what.add_argument("--scenarios", default="", help="ids, patterns, or requirements, with commas between them")
    what.add_argument(
        "--replay", type=Path, metavar="FILE", help="run again what failed in a JSON file of an earlier run"
    )
    how = each.add_argument_group("how")
    how.add_argument("--timeout", type=float, default=5.0, help="seconds for an answer (default %(default)g)")
    how.add_argument("--jobs", type=int, default=8, help="how many conversations at a time (default %(default)s)")
    how.add_argument("--strict", action="store_true", help="warnings fail too")
    how.add_argument(
        "--baseline", type=Path, metavar="FILE", help="a TOML file of failures that are expected; see docs/conformance"
    )
    out = each.add_argument_group("what is written")
    out.add_argument("--details", action="store_true", help="show what passed on the wire with each failure")
    out.add_argument("--json", type=Path, metavar="FILE", help="write the whole run")
    out.add_argument("--junit", type=Path, metavar="FILE", help="write JUnit XML")
    out.add_argument("--html", type=Path, metavar="FILE", help="write a page: requirements, and what was seen of each")


def _add_questions(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    listed = commands.add_parser("list", help="list the scenarios, or the requirements")
    listed.add_argument("--requirements", action="store_true", help="list the requirements instead")
    listed.add_argument("--role", choices=("server", "client"))
    explain = commands.add_parser("explain", help="say what a requirement or a scenario is about")
    explain.add_argument("id", help="the id or the number of a requirement, or the id of a scenario")
    matrix = commands.add_parser("matrix", help="judge known implementations side by side")
    matrix.add_argument("--targets", default="", help="names, with commas between them; default: all there are")
    matrix.add_argument("--roles", default="server,client", help="server, client, or both with a comma between them")
    matrix.add_argument("--by", choices=("area", "requirement"), default="area", help="what the rows of the table are")
    for name, what in (("revisions", "names"), ("transports", "names"), ("scenarios", "ids or patterns")):
        matrix.add_argument(f"--{name}", default="", help=f"{what}, with commas between them; default: all")
    matrix.add_argument("--jobs", type=int, default=4, help="how many conversations at a time (default %(default)s)")
    matrix.add_argument("--json", type=Path, metavar="FILE", help="write all runs to a file")
    matrix.add_argument("--html", type=Path, metavar="FILE", help="write a page to a file")
    agreement = commands.add_parser("agreement", help="compare with the verdicts of the official suite (needs npm)")
    agreement.add_argument("--target", default="mcp-2.3.0", help="which known implementation (default %(default)s)")
    agreement.add_argument("--roles", default="server,client", help="server, client, or both with a comma between them")
    agreement.add_argument("--json", type=Path, metavar="FILE", help="write the table to a file")
    compare = commands.add_parser("compare", help="show how two runs differ")
    compare.add_argument("before", type=Path, help="a JSON file of an earlier run")
    compare.add_argument("after", type=Path, help="a JSON file of a later run")
