"""The methods a server answers from its registry, one row each: what serves the request, or the answer itself."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from protocol.eras import Prepared
from protocol.errors import Fault
from protocol.events import Request
from protocol.types import PromptReference

from ..errors import MCPErrorCode, RequestError
from .entries import Entry

if TYPE_CHECKING:
    from .session import ServerSession

__all__ = ["HANDLERS"]

Handler = Callable[["ServerSession", Request], "Entry | Prepared | Any"]


def _unknown(what: str) -> RequestError:
    return RequestError(f"Invalid params: {what}", error_code=MCPErrorCode.INVALID_PARAMS)


def _call_tool(session: "ServerSession", request: Request) -> Any:
    entry = session.server.registry.tools.get(request.params.name)
    if entry is None:
        raise _unknown(f"unknown tool {request.params.name!r}")
    if entry.policy.required_permissions:
        session.authorise(request, entry)
    if entry.task is not None or request.params.task is not UNSET:
        return session.server.tasks.decide(session, request, entry)
    return entry


def _read_resource(session: "ServerSession", request: Request) -> Entry:
    uri = request.params.uri
    entry = session.registry.find_resource(uri)
    if entry is None:
        code = request.context.revision.fault_codes[Fault.RESOURCE_NOT_FOUND]
        raise RequestError(f"Resource not found: {uri}", error_code=code, data={"uri": uri})
    session.authorise(request, entry)
    return entry


def _get_prompt(session: "ServerSession", request: Request) -> Entry:
    entry = session.registry.prompts.get(request.params.name)
    if entry is None:
        raise _unknown(f"unknown prompt {request.params.name!r}")
    session.authorise(request, entry)
    return entry


def _complete(session: "ServerSession", request: Request) -> Any:
    from protocol.results import CompleteResult
    from protocol.types import Completion

    ref, argument = request.params.ref, request.params.argument.name
    registry = session.registry
    if isinstance(ref, PromptReference):
        prompt = registry.prompts.get(ref.name)
        if prompt is None:
            raise _unknown(f"unknown prompt {ref.name!r}")
        session.authorise(request, prompt)
        known, name = prompt.arguments.names, ref.name
    else:
        template = registry.templates.get(ref.uri)
        if template is None:
            raise _unknown(f"unknown resource template {ref.uri!r}")
        session.authorise(request, template)
        known, name = frozenset(template.template.variables), ref.uri
    if argument not in known:
        raise _unknown(f"{name!r} has no argument {argument!r}")
    entry = registry.completions.get((name, argument))
    return CompleteResult(completion=Completion(values=[])) if entry is None else entry


def _page(catalogue: str) -> Handler:
    def answer(session: "ServerSession", request: Request) -> Prepared:
        cursor = request.params.cursor
        server = session.server
        return getattr(session.registry, catalogue).page(  # type: ignore[no-any-return]
            None if cursor is UNSET else cursor,
            server.page_size,
            session.identity.permissions,
            session.may_use,
        )

    return answer


def _task(verb: str) -> Handler:
    def answer(session: "ServerSession", request: Request) -> Any:
        return getattr(session.server.tasks, verb)(session, request)

    return answer


HANDLERS: dict[str, Handler] = {
    "tools/list": _page("tools"),
    "tools/call": _call_tool,
    "resources/list": _page("resources"),
    "resources/templates/list": _page("templates"),
    "resources/read": _read_resource,
    "prompts/list": _page("prompts"),
    "prompts/get": _get_prompt,
    "completion/complete": _complete,
    "tasks/get": _task("get"),
    "tasks/result": _task("result"),
    "tasks/list": _task("list"),
    "tasks/cancel": _task("cancel"),
    "tasks/update": _task("update"),
}
