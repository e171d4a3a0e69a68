"""Compares the judge's schemas with those that the specification publishes: what a message may be, never how it is put.

    python -m tests.conformance.agreement                    # with those that the official suite brings along
    python -m tests.conformance.agreement FOLDER             # FOLDER/<revision>/schema.json or FOLDER/<revision>.json

Both are unfolded into plain trees and walked side by side. `schema_differences.toml` explains each difference.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

__all__ = ["Difference", "differences", "explained", "published", "published_in"]

HERE = Path(__file__).parent
SCHEMAS = HERE.parents[1] / "conformance" / "schema"

Difference = tuple[str, str, str]
"""The revision, where it is, and what differs."""

_ANYTHING: dict[str, dict[str, Any]] = {"JSONValue": {}, "JSONObject": {"type": "object"}}
"""Definitions of theirs that hold themselves and mean what a bare type means."""
_BOUNDS = ("format", "minimum", "maximum", "maxItems", "minItems")
_RESULTS = {
    "ping": "EmptyResult",
    "resources/subscribe": "EmptyResult",
    "resources/unsubscribe": "EmptyResult",
    "logging/setLevel": "EmptyResult",
    "tasks/get": "GetTaskResult",
    "tasks/result": "GetTaskPayloadResult",
    "tasks/cancel": "CancelTaskResult",
    "subscriptions/listen": "SubscriptionsListenResult",
    "elicitation/create": "ElicitResult",
}
_ERRORS = {
    "-32022": "UnsupportedProtocolVersionError",
    "-32021": "MissingRequiredClientCapabilityError",
    "-32042": "URLElicitationRequiredError",
}


class _Tree:
    """One document of schemas, unfolded on demand."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.definitions: dict[str, Any] = document.get("$defs") or document.get("definitions") or {}

    def _at(self, reference: str) -> dict[str, Any]:
        found: Any = {"$defs": self.definitions, "definitions": self.definitions}
        for part in reference.removeprefix("#/").split("/"):
            found = found[int(part)] if isinstance(found, list) else found[part]
        return dict(found)

    def open(self, schema: Any) -> dict[str, Any]:
        """Return a schema without references at its top; `title` is the name of the definition it came from."""
        name = ""
        while isinstance(schema, dict) and "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            if name in _ANYTHING:
                return {**_ANYTHING[name], "#name": ""}
            schema = {
                **self._at(schema["$ref"]),
                **{k: v for k, v in schema.items() if k not in ("$ref", "description")},
            }
        found = dict(schema) if isinstance(schema, dict) else {}
        for part in found.pop("allOf", ()):
            opened = self.open(part)
            found["properties"] = {**found.get("properties", {}), **opened.get("properties", {})}
            found["required"] = [*found.get("required", ()), *opened.get("required", ())]
            found.setdefault("type", opened.get("type"))
        found["#name"] = name
        return found

    def message(self, name: str) -> dict[str, Any]:
        """Return a message whole: older schemas leave its envelope and `_meta` to definitions it does not name."""
        found = self.open(self.definitions[name])
        if "jsonrpc" in found["properties"] or "RequestMetaObject" in self.definitions:
            return found
        kind = "Notification" if "otification" in name else "Request"
        envelope, base = self.definitions[f"JSONRPC{kind}"], self.open(self.definitions[kind])
        params = self.open(found["properties"].get("params", {"type": "object"}))
        more = self.open(base["properties"]["params"]).get("properties", {})
        found["properties"] = {
            **{name: envelope["properties"][name] for name in ("jsonrpc", "id") if name in envelope["properties"]},
            **found["properties"],
            "params": {**params, "properties": {**more, **params.get("properties", {})}},
        }
        found["required"] = [*found["required"], *(name for name in envelope["required"] if name != "method")]
        return found

    def branches(self, schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the alternatives of a schema by what tells them apart; one without alternatives is its only one."""
        found: dict[str, dict[str, Any]] = {}
        for each in schema.get("anyOf", ()):
            opened = self.open(each)
            if "anyOf" in opened:
                found |= self.branches(opened)
                continue
            rest = schema.get("properties", {})
            opened["properties"] = {**rest, **opened.get("properties", {})} if rest else opened.get("properties", {})
            for kind in _kinds(opened):
                found[self._label(opened, kind)] = {**opened, "type": kind}
        if not found:
            found = {kind: {**schema, "type": kind} for kind in _kinds(schema)}
        return found

    def _label(self, branch: dict[str, Any], kind: str) -> str:
        members = branch.get("properties", {})
        tags = [str(self.open(members[name]).get("const")) for name in ("type", "method", "mode") if name in members]
        tags = [tag for tag in tags if tag != "None"]
        if kind != "object" or not members:
            return kind
        required = "+".join(sorted(branch.get("required", ())))
        inner = "+".join(sorted(self.open(members.get("items", {})).get("required", ()))) if "items" in members else ""
        return " ".join([*tags, required, *([inner] if inner else [])]) if tags or required else kind


def _kinds(schema: dict[str, Any]) -> list[str]:
    kind = schema.get("type", "any")
    return list(kind) if isinstance(kind, list) else [kind]


def _chosen(schema: dict[str, Any]) -> set[str] | None:
    if "const" in schema:
        return {str(schema["const"])}
    return {str(each) for each in schema["enum"]} if "enum" in schema else None


class _Comparison:
    """Walks two trees side by side."""

    def __init__(self, ours: _Tree, theirs: _Tree) -> None:
        self.ours, self.theirs = ours, theirs
        self._seen: set[tuple[str, str]] = set()

    def compare(self, ours: Any, theirs: Any, where: str) -> Iterator[tuple[str, str]]:
        left, right = self.ours.open(ours), self.theirs.open(theirs)
        where = left["#name"] or where
        if left["#name"]:
            pair = (left["#name"], right["#name"] or json.dumps(right, sort_keys=True))
            if pair in self._seen:
                return
            self._seen.add(pair)
        mine, other = self.ours.branches(left), self.theirs.branches(right)
        if set(mine) != set(other):
            only, lacking = sorted(set(mine) - set(other)), sorted(set(other) - set(mine))
            yield where, f"alternatives: ours {only}, theirs {lacking}"
        for label in set(mine) & set(other):
            yield from self._one(mine[label], other[label], f"{where} ({label})" if len(mine) > 1 else where)

    def _one(self, left: dict[str, Any], right: dict[str, Any], where: str) -> Iterator[tuple[str, str]]:
        if _chosen(left) != _chosen(right):
            yield where, f"values: ours {_chosen(left)}, theirs {_chosen(right)}"
        for bound in _BOUNDS:
            if left.get(bound) != right.get(bound):
                yield where, f"{bound}: ours {left.get(bound)}, theirs {right.get(bound)}"
        if set(left.get("required", ())) != set(right.get("required", ())):
            only = sorted(set(left.get("required", ())) - set(right.get("required", ())))
            lacking = sorted(set(right.get("required", ())) - set(left.get("required", ())))
            yield where, f"required: only ours {only}, only theirs {lacking}"
        mine, other = left.get("properties", {}), right.get("properties", {})
        for name in sorted({*mine, *other}):
            if name not in other:
                yield f"{where}.{name}", "a member that theirs lacks"
            elif name not in mine:
                yield f"{where}.{name}", "a member that ours lacks"
            else:
                yield from self.compare(mine[name], other[name], f"{where}.{name}")
        for inner in ("items", "additionalProperties"):
            mine_in, other_in = left.get(inner), right.get(inner)
            if (mine_in or {}) in ({}, True) and (other_in or {}) in ({}, True):
                continue
            yield from self.compare(mine_in or {}, other_in or {}, f"{where}[]")


def _theirs_by_method(definitions: dict[str, Any]) -> dict[str, str]:
    found = {}
    for name, row in definitions.items():
        method = row.get("properties", {}).get("method", {}).get("const")
        if isinstance(method, str):
            found[method] = name
    return found


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[Difference]:
    """Return what differs between the judge's schemas of a revision and the published ones."""
    revision = ours["revision"]
    tree = _Tree(theirs)
    walk = _Comparison(_Tree(ours), tree)
    by_method = _theirs_by_method(tree.definitions)
    embedded = {e["properties"]["method"]["const"]: e for e in ours["$defs"].get("InputRequest", {}).get("anyOf", ())}
    messages = {**embedded, **ours["messages"]}
    found: list[tuple[str, str]] = []
    for method in sorted({*messages, *by_method}):
        if method not in by_method:
            found.append((method, "a message that theirs lacks"))
        elif method not in messages:
            found.append((method, "a message that ours lacks"))
        else:
            found += walk.compare(messages[method], tree.message(by_method[method]), method)
    for method, schema in ours["results"].items():
        name = _RESULTS.get(method) or by_method.get(method, "").replace("Request", "Result")
        if name in tree.definitions:
            found += walk.compare(schema, tree.definitions[name], f"result of {method}")
        elif method in by_method:
            found.append((f"result of {method}", f"theirs has no {name}"))
    for code, schema in ours["errors"].items():
        name = _ERRORS.get(code)
        if name is not None:
            found += walk.compare(schema, tree.open(tree.definitions[name])["properties"]["error"], f"error {code}")
    for kind, name in (("task", "CreateTaskResult"), ("input_required", "InputRequiredResult")):
        if kind in ours.get("kinds", ()) and name in tree.definitions:
            found += walk.compare(ours["kinds"][kind], tree.definitions[name], name)
    return [(revision, where, what) for where, what in dict.fromkeys(found)]


def explained(found: list[Difference]) -> tuple[list[Difference], list[str]]:
    """Return the differences that no row explains, and the rows that explain none."""
    rows = tomllib.loads((HERE / "schema_differences.toml").read_text(encoding="utf-8"))["difference"]
    used: set[int] = set()
    rest = []
    for revision, where, what in found:
        fitting = [
            index
            for index, row in enumerate(rows)
            if any(fnmatchcase(where, each) for each in row["where"])
            and fnmatchcase(what, row.get("what", "*"))
            and revision in row.get("revisions", [revision])
        ]
        used.update(fitting)
        if not fitting:
            rest.append((revision, where, what))
    return rest, [
        f"{row['where']}: {row['why']}"
        for index, row in enumerate(rows)
        if index not in used and not row.get("optional")
    ]


def published(node: str, suite: Path) -> dict[str, dict[str, Any]]:
    """Return the published schemas that the official suite brings along, by revision."""
    command = [node, str(HERE / "published.mjs"), str(suite)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found


def published_in(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the published schemas of a folder, as the specification's repository holds them."""
    found = {}
    for path in sorted(SCHEMAS.glob("*.json")):
        for place in (folder / path.stem / "schema.json", folder / path.name):
            if place.is_file():
                found[path.stem] = json.loads(place.read_text(encoding="utf-8"))
    return found


def ours() -> dict[str, dict[str, Any]]:
    """Return the judge's schemas by revision."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(SCHEMAS.glob("*.json"))}


def main() -> int:
    """Print what differs and is not explained."""
    from conformance.install import install

    if len(sys.argv) > 1:
        theirs = published_in(Path(sys.argv[1]))
    else:
        suite = install()
        theirs = published(str(suite.node), suite.script)
    there = {revision: mine for revision, mine in ours().items() if revision in theirs}
    found = [each for revision, mine in there.items() for each in differences(mine, theirs[revision])]
    rest, idle = explained(found)
    for revision, where, what in rest:
        print(f"{revision} {where}: {what}")
    for each in idle:
        print(f"explains nothing: {each}")
    print(f"{len(found)} differences in {', '.join(theirs)}, {len(rest)} of them not explained")
    return 1 if rest or idle else 0


if __name__ == "__main__":
    sys.exit(main())
