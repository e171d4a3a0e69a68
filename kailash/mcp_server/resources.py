"""Resources and resource templates: a URI is matched, a function called, its value becomes contents."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_type_hints

import msgspec
from msgspec import UNSET

from protocol.events import Request
from protocol.model import evolve
from protocol.results import ReadResourceResult
from protocol.types import Annotations, Icon, Resource, ResourceTemplate

from ..errors import MCPErrorCode, RequestError
from .content import contents_of
from .entries import UNGUARDED, Entry
from .options import EntryPolicy
from .templates import Template

__all__ = ["ResourceEntry", "TemplateEntry", "from_text"]


def from_text(value: Any, annotation: Any, name: str) -> Any:
    """Convert text from a URI or a prompt argument into what a parameter is annotated with.

    Raises:
        RequestError: −32602; the text does not fit.
    """
    if annotation in (Any, str, None):
        return value
    try:
        return msgspec.convert(value, annotation, strict=False)
    except msgspec.ValidationError as error:
        raise RequestError(
            f"Invalid params: argument {name!r}: {error}", error_code=MCPErrorCode.INVALID_PARAMS
        ) from None


def hints_of(fn: Any) -> dict[str, Any]:
    """Return the parameter annotations of a function, without those that cannot be resolved."""
    try:
        return get_type_hints(fn, include_extras=True)
    except (NameError, TypeError):
        return {}


def _hinted(result: ReadResourceResult, entry: Entry) -> ReadResourceResult:
    """Let clients keep what the server keeps, unless the function says how long itself."""
    policy = entry.policy
    if policy.cache_ttl is None or result.ttl_ms is not UNSET:
        return result
    scope: Any = "public" if policy.is_shared else "private"
    return evolve(result, ttl_ms=int(policy.cache_ttl * 1000), cache_scope=scope)


class ResourceEntry(Entry):
    """A resource with a fixed URI."""

    kind = "resource"

    def __init__(
        self,
        fn: Callable[..., Any],
        uri: str,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        mime_type: str | None = None,
        size: int | None = None,
        annotations: Annotations | None = None,
        icons: Sequence[Icon] | None = None,
        meta: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        blocking: bool | None = None,
        policy: EntryPolicy = UNGUARDED,
    ) -> None:
        super().__init__(fn, blocking=blocking, timeout=timeout, policy=policy)
        if self.arguments.required:
            needs = ", ".join(self.arguments.required)
            raise TypeError(f"resource {uri!r} has no variables to fill {needs}: write them into the URI as {{name}}")
        self.uri = uri
        self.mime_type = mime_type
        self.resource = Resource(
            uri=uri,
            name=name or str(getattr(fn, "__name__", uri)),
            title=UNSET if title is None else title,
            description=description or self.arguments.doc.description or UNSET,
            mime_type=UNSET if mime_type is None else mime_type,
            size=UNSET if size is None else size,
            annotations=UNSET if annotations is None else annotations,
            icons=UNSET if icons is None else list(icons),
            meta=UNSET if meta is None else dict(meta),
        )

    @property
    def name(self) -> str:
        """The URI."""
        return self.uri

    def finish(self, value: Any, request: Request) -> ReadResourceResult:
        """Turn the returned value into contents."""
        return _hinted(contents_of(value, request.params.uri, self.mime_type), self)


class TemplateEntry(Entry):
    """A family of resources whose URIs match an RFC 6570 template."""

    kind = "resource"

    def __init__(
        self,
        fn: Callable[..., Any],
        uri_template: str,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        mime_type: str | None = None,
        annotations: Annotations | None = None,
        icons: Sequence[Icon] | None = None,
        meta: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        blocking: bool | None = None,
        policy: EntryPolicy = UNGUARDED,
    ) -> None:
        super().__init__(fn, blocking=blocking, timeout=timeout, policy=policy)
        self.template = Template(uri_template)
        variables = set(self.template.variables)
        missing = set(self.arguments.required) - variables
        if missing:
            raise TypeError(f"template {uri_template!r} has no variable for {', '.join(sorted(missing))}")
        unknown = variables - self.arguments.names
        if unknown and self.arguments.extra is None:
            raise TypeError(f"function of template {uri_template!r} has no parameter {', '.join(sorted(unknown))}")
        self.mime_type = mime_type
        self._hints = hints_of(fn)
        self.uri_template = uri_template
        self.resource_template = ResourceTemplate(
            uri_template=uri_template,
            name=name or str(getattr(fn, "__name__", uri_template)),
            title=UNSET if title is None else title,
            description=description or self.arguments.doc.description or UNSET,
            mime_type=UNSET if mime_type is None else mime_type,
            annotations=UNSET if annotations is None else annotations,
            icons=UNSET if icons is None else list(icons),
            meta=UNSET if meta is None else dict(meta),
        )

    @property
    def name(self) -> str:
        """The template."""
        return self.uri_template

    def matches(self, uri: str) -> bool:
        """Tell whether a URI is of this family."""
        return self.template.match(uri) is not None

    def named_arguments(self, request: Request) -> Mapping[str, Any]:
        """Return the variables of the URI."""
        return self.template.match(request.params.uri) or {}

    def bind(self, request: Request) -> dict[str, Any]:
        """Return the variables of the URI as arguments."""
        values = self.template.match(request.params.uri) or {}
        return {name: from_text(value, self._hints.get(name), name) for name, value in values.items()}

    def finish(self, value: Any, request: Request) -> ReadResourceResult:
        """Turn the returned value into contents."""
        return _hinted(contents_of(value, request.params.uri, self.mime_type), self)
