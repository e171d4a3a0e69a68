"""Registering what a server offers: the decorators, and taking entries away again."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar, Unpack, overload

from .entries import Entry, bare_or_called
from .options import PromptOptions, ResourceOptions, ToolOptions, split_options
from .policies import Policies
from .prompts import CompletionEntry, PromptEntry
from .registry import Registry
from .resources import ResourceEntry, TemplateEntry
from .tasks import TaskRunner
from .tools import ToolEntry

__all__ = ["Registration"]

F = TypeVar("F", bound=Callable[..., Any])


class Registration(ABC):
    """The part of a server to which functions are given."""

    registry: Registry
    policies: Policies
    tasks: TaskRunner

    @overload
    def tool(self, fn: F, /) -> F: ...
    @overload
    def tool(self, name: str | None = None, /, **options: Unpack[ToolOptions]) -> Callable[[F], F]: ...
    def tool(self, fn: Any = None, /, **options: Any) -> Any:
        """Register a function as a tool; with or without parentheses, the function itself comes back.

        Options: those of `ToolOptions`.

        >>> from kailash.mcp_server import MCPServer
        >>> server = MCPServer("doc")
        >>> @server.tool
        ... def add(a: int, b: int) -> int:
        ...     "Add two numbers."
        ...     return a + b
        >>> add(1, 2)
        3

        Raises:
            TypeError: an option that is not known; the message lists those that are.
            ValueError: the name is taken, or an option is out of range.
        """
        if isinstance(fn, str):
            options = {"name": fn, **options}
            fn = None
        return bare_or_called(fn, lambda function: self.add_tool(function, **options))

    def add_tool(self, fn: Callable[..., Any], **options: Unpack[ToolOptions]) -> None:
        """Register a function as a tool; the options are those of `tool`."""
        policy, rest = split_options(options, ToolOptions, "tool")
        entry = ToolEntry(fn, policy=policy, **rest)
        self.policies.compose(entry)
        self.registry.add_tool(entry)
        if self.tasks.offer(entry):
            self._refresh()

    def resource(self, uri: str, **options: Unpack[ResourceOptions]) -> Callable[[F], F]:
        """Register a function as a resource, or, when the URI has `{variables}`, as a resource template (RFC 6570).

        Options: those of `ResourceOptions`.
        """
        if not isinstance(uri, str):
            raise TypeError('a resource needs its URI: @server.resource("config://settings")')

        def register(fn: Callable[..., Any]) -> None:
            policy, rest = split_options(options, ResourceOptions, "resource")
            if "{" not in uri:
                self._add(self.registry.resources, ResourceEntry(fn, uri, policy=policy, **rest))
                return
            if rest.pop("size", None) is not None:
                raise TypeError("a template has no size")
            self._add(self.registry.templates, TemplateEntry(fn, uri, policy=policy, **rest))

        return bare_or_called(None, register)  # type: ignore[no-any-return]

    @overload
    def prompt(self, fn: F, /) -> F: ...
    @overload
    def prompt(self, name: str | None = None, /, **options: Unpack[PromptOptions]) -> Callable[[F], F]: ...
    def prompt(self, fn: Any = None, /, **options: Any) -> Any:
        """Register a function as a prompt; with or without parentheses, the function itself comes back.

        Options: those of `PromptOptions`.
        """
        if isinstance(fn, str):
            options = {"name": fn, **options}
            fn = None

        def register(function: Callable[..., Any]) -> None:
            policy, rest = split_options(options, PromptOptions, "prompt")
            self._add(self.registry.prompts, PromptEntry(function, policy=policy, **rest))

        return bare_or_called(fn, register)

    @abstractmethod
    def _refresh(self) -> None:
        """Show clients to come what is offered by now."""

    def _add(self, catalogue: Any, entry: Entry) -> None:
        self.policies.compose(entry)
        catalogue.add(entry)

    def completion(
        self, *, prompt: str | None = None, template: str | None = None, argument: str, blocking: bool | None = None
    ) -> Callable[[F], F]:
        """Register a function that suggests values for an argument of a prompt or a variable of a template."""
        if (prompt is None) == (template is None):
            raise TypeError("a completion is for a prompt= or a template=")
        ref = prompt if prompt is not None else template
        assert ref is not None

        def register(fn: Callable[..., Any]) -> None:
            entry = CompletionEntry(fn, ref, argument, blocking=blocking)
            self.policies.compose(entry)
            self.registry.completions[ref, argument] = entry

        return bare_or_called(None, register)  # type: ignore[no-any-return]

    def remove_tool(self, name: str) -> None:
        """Take a tool away; clients are told."""
        entry = self.registry.remove_tool(name)
        self.tasks.withdraw(name)
        self.policies.forget(entry)

    def remove_resource(self, uri: str) -> None:
        """Take a resource or a template away; clients are told."""
        catalogue: Any = self.registry.templates if "{" in uri else self.registry.resources
        self.policies.forget(catalogue.remove(uri))

    def remove_prompt(self, name: str) -> None:
        """Take a prompt away; clients are told."""
        self.policies.forget(self.registry.prompts.remove(name))

    def enable_tool(self, name: str) -> None:
        """Offer a disabled tool again; clients are told."""
        self.registry.tools.enable(name, True)

    def disable_tool(self, name: str) -> None:
        """Neither list nor serve a tool for now; clients are told."""
        self.registry.tools.enable(name, False)
