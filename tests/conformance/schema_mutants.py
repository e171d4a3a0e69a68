"""Servers and clients whose messages do not fit the schema of their revision; see `mutants`."""

# ruff: noqa: E501 - a table: a row is a line

from typing import Any

from conformance.schemas import RULE

from .client_mutants import ClientMutant
from .mutants import M, Mutant, drop, error, note, put, result

__all__ = ["SCHEMA_CLIENTS", "SCHEMA_SERVERS"]


def _each(kind: str, **more: Any) -> Any:
    """Put members into each entry of a list."""

    def edit(found: M) -> None:
        for entry in found.get(kind, ()):
            entry.update(more)

    return edit


def _contents(**more: Any) -> Any:
    return _each("content", **more)


def _params(**more: Any) -> Any:
    return lambda message: message.setdefault("params", {}).update(more)


SCHEMA_SERVERS = [
    Mutant("a title that is a number", RULE, "D", change=result(_each("tools", title=5), "tools/list"), scenarios="tools-list"),
    Mutant("a hint that is text", RULE, "C", "stdio", change=result(_each("tools", annotations={"readOnlyHint": "yes"}), "tools/list"), scenarios="tools-list"),
    Mutant("a null description", RULE, "E", change=result(_each("tools", description=None), "tools/list"), scenarios="tools-list"),
    Mutant("an audience that is nobody's", RULE, "B", change=result(_contents(annotations={"audience": ["everybody"]}), "tools/call"), scenarios="content-kinds"),
    Mutant("a priority of two", RULE, "E", change=result(_contents(annotations={"priority": 2}), "tools/call"), scenarios="content-kinds"),
    Mutant("isError is text", RULE, "A", "stdio", change=result(put(isError="no"), "tools/call"), scenarios="content-kinds"),
    Mutant("a resource without a name", RULE, "A", change=result(lambda r: [x.pop("name", None) for x in r.get("resources", ())], "resources/list"), scenarios="resources-list"),
    Mutant("a cursor that is a number", RULE, "D", change=result(put(nextCursor=7), "prompts/list"), scenarios="prompts-list"),
    Mutant("a prompt without messages", RULE, "C", change=result(drop("messages"), "prompts/get"), scenarios="prompts-get"),
    Mutant("a message by the system", RULE, "B", "stdio", change=result(lambda r: [m.update(role="system") for m in r.get("messages", ())], "prompts/get"), scenarios="prompts-get"),
    Mutant("capabilities are yes", RULE, "D", "stdio", change=result(lambda r: r["capabilities"].update(tools=True), "initialize"), scenarios="initialize"),
    Mutant("a server without a version", RULE, "E", change=result(lambda r: r["_meta"]["io.modelcontextprotocol/serverInfo"].pop("version", None), "server/discover"), scenarios="discover"),
    Mutant("a cache for nobody", RULE, "E", "stdio", change=result(put(cacheScope="nobody"), "tools/list"), scenarios="tools-list"),
    Mutant("progress in words", RULE, "D", change=note("notifications/progress", _params(progress="half")), scenarios="progress"),
    Mutant("an error without its data", RULE, "E", change=error(drop("data")), scenarios="unknown-version"),
]  # fmt: skip


def _named(method: str, **more: Any) -> Any:
    return lambda message: message["params"].update(more) if message.get("method") == method else None


SCHEMA_CLIENTS = [
    ClientMutant("arguments are a list", RULE, "D", "stdio", edit=_named("tools/call", arguments=[])),
    ClientMutant("capabilities are missing", RULE, "C", edit=lambda m: m["params"].pop("capabilities") and None if m.get("method") == "initialize" else None),
    ClientMutant("a version that is a number", RULE, "A", edit=_named("initialize", protocolVersion=1)),
    ClientMutant("no capabilities in meta", RULE, "E", edit=lambda m: (m.get("params") or {}).get("_meta", {}).pop("io.modelcontextprotocol/clientCapabilities", None) and None),
]  # fmt: skip
