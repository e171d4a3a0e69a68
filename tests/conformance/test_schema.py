"""The schemas of messages: made from our own types, in agreement with the published ones, and held to by both roles."""

# ruff: noqa: E501 - tables: a row is a line

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from conformance.check import Outcome, Verdict
from conformance.client import judge_client
from conformance.fixture import read_fixtures
from conformance.install import Unavailable, install
from conformance.requirements import Revision, revisions
from conformance.runner import Options, judge_server
from conformance.schemas import RULE, schema_faults
from conformance.target import ServerTarget
from conformance.targets.ours import schemas

from . import agreement
from .client_mutants import ClientMutant
from .mutants import DATES, Mutant
from .schema_mutants import SCHEMA_CLIENTS, SCHEMA_SERVERS

OURS = f"{sys.executable} -m conformance.targets.ours"
META = {
    "io.modelcontextprotocol/protocolVersion": DATES["E"],
    "io.modelcontextprotocol/clientCapabilities": {},
}


def _revision(letter: str) -> Revision:
    return revisions()[DATES[letter]]


def test_the_schemas_are_those_of_our_types(tmp_path: Path) -> None:
    schemas.main([str(tmp_path)])
    made = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_text(encoding="utf-8") for path in schemas.FOLDER.iterdir()}, (
        "run `python -m conformance.targets.ours.schemas`"
    )


@pytest.mark.interop
@pytest.mark.timeout(240)
def test_the_schemas_agree_with_the_published_ones() -> None:
    try:
        suite = install()
    except Unavailable as error:
        pytest.skip(str(error))
    theirs = agreement.published(str(suite.node), suite.script)
    assert set(theirs) >= {DATES[letter] for letter in "BCDE"}
    found = [
        each
        for revision, mine in agreement.ours().items()
        if revision in theirs
        for each in agreement.differences(mine, theirs[revision])
    ]
    assert agreement.explained(found) == ([], [])


def test_a_difference_is_seen() -> None:
    mine = agreement.ours()[DATES["E"]]
    other = json.loads(json.dumps(mine))
    # The judge's own file in the role of the published one: then they differ in what is changed here, and in nothing.
    theirs = {"$defs": {**other["$defs"], "ListToolsRequest": other["messages"]["tools/list"]}}
    found = agreement._Comparison(agreement._Tree(mine), agreement._Tree(theirs))
    assert list(found.compare(mine["$defs"]["Tool"], other["$defs"]["Tool"], "Tool")) == []
    other["$defs"]["Tool"]["required"] = ["name"]
    other["$defs"]["Icon"]["properties"]["theme"]["enum"] = ["dark"]
    del other["$defs"]["Annotations"]["properties"]["priority"]
    found = agreement._Comparison(agreement._Tree(mine), agreement._Tree(theirs))
    seen = [where for name in ("Tool", "TextContent") for where, _ in
            found.compare(mine["$defs"][name], other["$defs"][name], name)]  # fmt: skip
    assert seen == ["Tool", "Icon.theme", "Annotations.priority"]


TOOL = {"name": "t", "inputSchema": {"type": "object"}}


def _answered(result: Any, method: str, **params: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"jsonrpc": "2.0", "id": 1, "result": result}, {"method": method, "params": params}


@pytest.mark.parametrize(
    ("letter", "message", "request_", "faults"),
    [
        ("A", *_answered({"tools": [TOOL]}, "tools/list"), []),
        ("A", *_answered({"tools": [{"name": "t"}]}, "tools/list"), ["/result/tools/0: "]),
        ("A", *_answered({"content": [{"type": "audio", "data": "", "mimeType": "a/b"}]}, "tools/call"), ["/result/content/0: "]),
        ("B", *_answered({"content": [{"type": "audio", "data": "", "mimeType": "a/b"}]}, "tools/call"), []),
        ("B", *_answered({"content": [{"type": "audio", "data": "?", "mimeType": "a/b"}]}, "tools/call"), ["/result/content/0/data: "]),
        ("C", *_answered({"contents": [{"uri": "no uri", "text": ""}]}, "resources/read"), ["/result/contents/0: "]),
        ("D", *_answered({"task": {"taskId": "1"}}, "tools/call", task={}), ["/result/task: "] * 4),
        ("D", *_answered({"task": {"taskId": "1"}}, "tools/call"), ["/result: "]),
        ("E", *_answered({"resultType": "input_required", "inputRequests": {"a": {"method": "x"}}}, "tools/call", _meta=META), ["/result/inputRequests/a: "]),
        ("E", *_answered({"resultType": "complete"}, "tools/call", _meta=META), ["/result: "]),
        ("E", *_answered({"anything": 1}, "vendor/method", _meta=META), []),
        ("E", *_answered([], "vendor/method", _meta=META), ["/result: "]),
        ("E", {"jsonrpc": "2.0", "id": 1, "error": {"code": -32022, "message": "no"}}, None, ["/error: "]),
        ("D", {"jsonrpc": "2.0", "id": 1, "error": {"code": -32022, "message": "no"}}, None, []),
        ("E", {"jsonrpc": "2.0", "id": 1, "error": {"code": 1.5, "message": "no"}}, None, ["/error/code: "]),
        ("D", {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}}, None, ["/params: "]),
        ("D", {"jsonrpc": "2.0", "method": "vendor/note", "params": []}, None, ["/params: "]),
        ("B", [{"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": 2}}], None, ["/error/message: "]),
        ("C", [{"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "2"}}], None, ["an array "]),
    ],
)  # fmt: skip
def test_faults_say_where_they_are(letter: str, message: Any, request_: Any, faults: list[str]) -> None:
    found = schema_faults(message, _revision(letter), request_)
    assert found is not None and len(found) == len(faults), found
    assert all(fault.startswith(start) for fault, start in zip(found, faults, strict=True)), found


def test_what_answers_nothing_known_is_not_judged() -> None:
    assert schema_faults({"jsonrpc": "2.0", "id": 1, "result": {}}, _revision("D")) is None
    assert schema_faults({"jsonrpc": "2.0", "id": 1, "result": {}}, _revision("E"), {"method": "tools/list"}) is None
    assert schema_faults(5, _revision("E")) is None


def _named(outcomes: list[Outcome]) -> list[str]:
    return [c.detail for o in outcomes for c in o.checks_with(Verdict.FAIL) if c.rule == RULE]


@pytest.mark.parametrize("mutant", SCHEMA_SERVERS, ids=lambda m: m.name.replace(" ", "-"))
def test_a_server_that_breaks_the_schema_is_named(mutant: Mutant) -> None:
    command = f"{OURS}.server --stdio --page-size 10"
    serve = None if mutant.transport == "stdio" else f"{OURS}.server --port {{port}} --page-size 10"
    target = ServerTarget(command=command if serve is None else None, serve=serve, tap=mutant.fresh())
    options = Options(
        fixtures=read_fixtures("judge"),
        revisions=(DATES[mutant.revision],),
        scenarios=(mutant.scenarios,),
        timeout=3.0,
    )
    outcomes, _ = asyncio.run(judge_server(target, options))
    assert _named(outcomes), [(o.scenario, o.checks) for o in outcomes]
    assert not [c.detail for o in outcomes for c in o.checks_with(Verdict.ERROR)]


@pytest.mark.parametrize("mutant", SCHEMA_CLIENTS, ids=lambda m: m.name.replace(" ", "-"))
def test_a_client_that_breaks_the_schema_is_named(mutant: ClientMutant) -> None:
    options = Options(
        fixtures=read_fixtures("judge"),
        revisions=(DATES[mutant.revision],),
        transports=(mutant.transport,),
        scenarios=("client-uses-a-server",),
    )
    outcomes, _ = asyncio.run(judge_client(f"{OURS}.client", options, tap=mutant))
    assert _named(outcomes), [(o.scenario, o.checks) for o in outcomes]
