"""`@rule(17, 22)` binds a test to the numbered rules of the conformance list (spec.md, section 6)."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T", bound=Callable[..., Any])


def rule(*numbers: int) -> Callable[[T], T]:
    """Mark a test with the rules that it shows to hold."""

    def mark(test: T) -> T:
        for number in numbers:
            test = pytest.mark.rule(number)(test)
        return test

    return mark


def bound_rules(folder: Path) -> Iterator[tuple[int, str]]:
    """Yield each rule that a test below a folder is bound to, and the test, found in the sources."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                for decorator in node.decorator_list:
                    for number in _numbers(decorator):
                        yield number, f"{path.name}::{node.name}"


def _numbers(decorator: ast.expr) -> list[int]:
    if not isinstance(decorator, ast.Call):
        return []
    called = ast.unparse(decorator.func)
    if called not in ("rule", "requirements.rule", "pytest.mark.rule"):
        return []
    numbers = [argument.value for argument in decorator.args if isinstance(argument, ast.Constant)]
    assert len(numbers) == len(decorator.args), f"rules are named by number: {ast.unparse(decorator)}"
    return [number for number in numbers if isinstance(number, int)]
