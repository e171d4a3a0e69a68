"""What a schema may cost, found out before it is used.

`$ref` lets a small schema stand for a huge one: forty definitions that each name the next one twice
are 2⁴⁰ checks of a single value. Two figures bound that:

- `expansion`: schemas there would be if every reference were written out, a recursive one once. It
  bounds the time of a yes-or-no answer; the validator remembers recursive answers by itself.
- `detail_depth`: how deep a value may be for its faults to be listed. Listing visits every branch of
  every alternative and remembers nothing, so recursion through alternatives doubles per level.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from .walk import MANY, NAMED, ONE, subschemas

MAX_DETAIL = 2_000
"""Checks spent on one list of faults, per place in the value: about 50 ms at the worst."""
MAX_LEVELS = 64
UNLIMITED = 1 << 30

_IN_PLACE = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"})
"""Keywords whose schemas see the same value; all others see a part of it."""
_APART = frozenset({"properties", "prefixItems", "items"})
"""Keywords whose schemas see a different part of the value each."""
_STORES = frozenset({"$defs", "definitions"})
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_ANCHORS = ("$anchor", "$dynamicAnchor")


class Cost:
    """The graph of a schema's parts, by index; 0 is the schema itself."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._nodes: list[Mapping[str, Any]] = []
        self._index: dict[int, int] = {}
        self._reaches_out = False
        for _, node in subschemas(schema):
            self._add(node)
        self._resources = [schema]
        self._anchors: dict[str, list[int]] = {}
        for number, node in enumerate(self._nodes):
            for name in ("$id", "id"):
                if number and isinstance(node.get(name), str):
                    self._resources.append(node)
            for name in _ANCHORS:
                if isinstance(anchor := node.get(name), str):
                    self._anchors.setdefault(anchor, []).append(number)
            if isinstance(old := node.get("$id", node.get("id")), str) and old[:1] == "#":
                self._anchors.setdefault(old[1:], []).append(number)
        self._here: list[list[int]] = []
        self._below: list[list[list[int]]] = []
        """Per part groups of which any one place in the value sees only one: the properties, say."""
        # The list grows while it is walked: a reference may lead to what no keyword holds.
        for node in self._nodes:
            here, below = self._edges(node)
            self._here.append(here)
            self._below.append(below)

    def expansion(self) -> int:
        """Count the schemas behind the root with every reference written out."""
        edges = self._all_edges()
        counts = [1] * len(edges)
        for group in _groups(edges):  # what a group refers to has been counted before
            members = set(group)
            for number in group:
                outside = (counts[other] for other in edges[number] if other not in members)
                inside = sum(other in members for other in edges[number])
                counts[number] = min(1 + inside + sum(outside), UNLIMITED)
        return counts[0]

    def detail_depth(self) -> int:
        """The depth up to which listing faults is affordable; -1 for not even a scalar's."""
        if self._reaches_out:
            return -1
        order: list[int] = []
        for group in _groups(self._here):
            if len(group) > 1 or group[0] in self._here[group[0]]:
                return -1
            order.append(group[0])
        reachable = _reachable(self._all_edges())
        order = [number for number in order if number in reachable]
        before = [0] * len(self._nodes)
        for level in range(MAX_LEVELS):
            now = [0] * len(self._nodes)
            for number in order:
                cost = 1 + sum(now[other] for other in self._here[number])
                cost += sum(max(before[other] for other in group) for group in self._below[number])
                now[number] = min(cost, MAX_DETAIL + 1)
            if now[0] > MAX_DETAIL:
                return level - 1
            if now == before:
                return UNLIMITED
            before = now
        return MAX_LEVELS

    def _all_edges(self) -> list[list[int]]:
        below = ([number for group in groups for number in group] for groups in self._below)
        return [[*here, *rest] for here, rest in zip(self._here, below, strict=True)]

    def _add(self, node: Mapping[str, Any]) -> int:
        number = self._index.get(id(node))
        if number is None:
            number = self._index[id(node)] = len(self._nodes)
            self._nodes.append(node)
        return number

    def _edges(self, node: Mapping[str, Any]) -> tuple[list[int], list[list[int]]]:
        here: list[int] = []
        below: list[list[int]] = []
        for keyword, value in node.items():
            if keyword in _STORES or keyword not in ONE | MANY | NAMED:
                continue
            found: Sequence[Any] = [value]
            if isinstance(value, list):
                found = value
            elif keyword in NAMED and isinstance(value, Mapping):
                found = list(value.values())
            numbers = [self._add(item) for item in found if isinstance(item, Mapping)]
            if keyword in _IN_PLACE:
                here.extend(numbers)
            elif keyword in _APART and numbers:
                below.append(numbers)
            else:
                below.extend([number] for number in numbers)
        for keyword in _REFERENCES:
            if isinstance(reference := node.get(keyword), str):
                targets = list(self._targets(reference))
                self._reaches_out = self._reaches_out or not targets
                here.extend(targets)
        return here, below

    def _targets(self, reference: str) -> Iterator[int]:
        """Every part a reference may mean: more than one when parts have names of their own."""
        _, _, fragment = reference.partition("#")
        fragment = unquote(fragment)
        resources = self._resources
        if reference[:1] != "#":
            resources = [x for x in resources if isinstance(x.get("$id", x.get("id")), str)]
        if fragment and fragment[0] != "/":
            yield from self._anchors.get(fragment, ())
            return
        for resource in resources:
            target = _pointed(resource, fragment)
            if isinstance(target, Mapping):
                yield self._add(target)


def _pointed(value: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part[:9]) < len(value):
            value = value[int(part[:9])]
        else:
            return None
    return value


def _reachable(edges: Sequence[Sequence[int]]) -> set[int]:
    found = {0}
    pending = [0]
    while pending:
        new = set(edges[pending.pop()]) - found
        found |= new
        pending.extend(new)
    return found


def _groups(edges: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Strongly connected groups, what a group points at before the group (Tarjan, no recursion)."""
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    waiting: set[int] = set()
    for start in range(len(edges)):
        if start in order:
            continue
        work = [(start, iter(edges[start]))]
        order[start] = low[start] = len(order)
        stack.append(start)
        waiting.add(start)
        while work:
            number, rest = work[-1]
            for other in rest:
                if other not in order:
                    order[other] = low[other] = len(order)
                    stack.append(other)
                    waiting.add(other)
                    work.append((other, iter(edges[other])))
                    break
                if other in waiting:
                    low[number] = min(low[number], order[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[number])
                if low[number] == order[number]:
                    group = [stack.pop()]
                    while group[-1] != number:
                        group.append(stack.pop())
                    waiting.difference_update(group)
                    yield group


def is_deeper(value: Any, limit: int) -> bool:
    """Tell whether a JSON value nests deeper than `limit`; a scalar has depth 0."""
    depth = -1
    level = [value]
    while level:
        depth += 1
        if depth > limit:
            return True
        level = [
            inner
            for item in level
            if isinstance(item, dict | list | tuple)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return False
