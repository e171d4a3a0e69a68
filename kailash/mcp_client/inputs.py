"""What servers may ask of this client: sampling, elicitation, roots; and how handlers' answers become results."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET

from protocol.capabilities import (
    ClientCapabilities,
    ElicitationCapability,
    RootsCapability,
    SamplingCapability,
)
from protocol.elicitation import apply_defaults, check_elicit_content
from protocol.events import InputRequest
from protocol.params import CreateMessageParams, ElicitParams
from protocol.results import CreateMessageResult, ElicitResult, ListRootsResult
from protocol.sampling import check_sampling_messages
from protocol.types import Root, TextContent

from ..errors import MCPError, MCPErrorCode

__all__ = ["InputHandlers"]

Handler = Callable[..., Any]
Roots = Iterable["str | Path | Root"] | Callable[[], Any]

MODES = ("form", "url")


class InputHandlers:
    """The handlers a client was given; what has a handler is declared as a capability.

    Args:
        sampling: gets `CreateMessageParams`; returns a `CreateMessageResult`, or the answer's text. `MCPError` refuses.
        elicitation: gets `ElicitParams`; returns an `ElicitResult`, a mapping (accepted with this content), `True`
            (accepted), `None` or `False` (declined), or the action's name.
        roots: paths or `file://` URIs, or a function that returns them.
        sampling_tools: the sampling handler can handle tools.
        elicitation_modes: which modes the elicitation handler can handle, of `form` and `url`.
    """

    def __init__(
        self,
        sampling: Handler | None = None,
        elicitation: Handler | None = None,
        roots: Roots | None = None,
        *,
        sampling_tools: bool = False,
        elicitation_modes: Iterable[str] = ("form",),
    ) -> None:
        modes = tuple(elicitation_modes)
        unknown = set(modes) - set(MODES)
        if unknown or not modes:
            raise ValueError(f"elicitation_modes are of {', '.join(MODES)}, not {sorted(unknown)}")
        self._sampling = sampling
        self._elicitation = elicitation
        self.roots = roots
        self._sampling_tools = sampling_tools
        self._modes = modes

    def capabilities(self) -> ClientCapabilities:
        """Return what to declare."""
        declared = ClientCapabilities()
        if self._sampling is not None:
            declared.sampling = SamplingCapability(tools={} if self._sampling_tools else UNSET)
        if self._elicitation is not None:
            declared.elicitation = ElicitationCapability(
                form={} if "form" in self._modes else UNSET, url={} if "url" in self._modes else UNSET
            )
        if self.roots is not None:
            declared.roots = RootsCapability(list_changed=True)
        return declared

    async def answer(self, request: InputRequest) -> Any:
        """Return the bare result of one request of the server's.

        Raises:
            MCPError: the handler refused, or its answer does not fit.
        """
        params = request.params
        if isinstance(params, CreateMessageParams) and self._sampling is not None:
            wrong = check_sampling_messages(params.messages)
            if wrong is not None:
                raise MCPError(f"Invalid params: {wrong}", error_code=MCPErrorCode.INVALID_PARAMS)
            return _sampled(await _call(self._sampling, params))
        if isinstance(params, ElicitParams) and self._elicitation is not None:
            return _elicited(await _call(self._elicitation, params), params)
        if request.method == "roots/list" and self.roots is not None:
            roots = await _call(self.roots) if callable(self.roots) else self.roots
            return ListRootsResult(roots=[_root(root) for root in roots])
        raise MCPError(f"no handler for {request.method}", error_code=MCPErrorCode.METHOD_NOT_FOUND)


async def _call(fn: Handler, *args: Any) -> Any:
    outcome = fn(*args)
    return await outcome if inspect.isawaitable(outcome) else outcome


def _sampled(answer: Any) -> CreateMessageResult:
    if isinstance(answer, CreateMessageResult):
        return answer
    if isinstance(answer, str):
        return CreateMessageResult(
            role="assistant", content=TextContent(text=answer), model="unknown", stop_reason="endTurn"
        )
    raise TypeError(f"a sampling handler returns text or CreateMessageResult, not {type(answer).__name__}")


def _elicited(answer: Any, params: ElicitParams) -> ElicitResult:
    if answer is None or answer is False:
        return ElicitResult(action="decline")
    if isinstance(answer, str):
        if answer not in ("accept", "decline", "cancel"):
            raise ValueError(f"an elicitation is answered accept, decline or cancel, not {answer!r}")
        answer = ElicitResult(action=answer)  # type: ignore[arg-type]
    elif answer is True:
        answer = ElicitResult(action="accept", content={})
    elif isinstance(answer, Mapping):
        answer = ElicitResult(action="accept", content=dict(answer))
    elif not isinstance(answer, ElicitResult):
        answer = ElicitResult(action="accept", content=msgspec.to_builtins(answer))
    if answer.action != "accept" or params.mode == "url":
        # "content … omitted for out-of-band mode responses" — client/elicitation
        return ElicitResult(action=answer.action)
    schema = {"properties": {}} if params.requested_schema is UNSET else params.requested_schema
    content = apply_defaults(schema, answer.content if isinstance(answer.content, dict) else {})
    wrong = check_elicit_content(schema, content)
    if wrong is not None:
        raise ValueError(f"the elicitation handler's answer does not fit the form: {wrong}")
    return ElicitResult(action="accept", content=content)


def _root(value: Any) -> Root:
    if isinstance(value, Root):
        root = value
    elif isinstance(value, Path):
        root = Root(uri=value.absolute().as_uri(), name=value.name or UNSET)
    elif "://" in value:
        root = Root(uri=value)
    else:
        root = Root(uri=Path(value).absolute().as_uri())
    if not root.uri.startswith("file://"):
        # "This MUST be a file:// URI" — client/roots#root
        raise ValueError(f"a root is a file:// URI or a path, not {root.uri!r}")
    return root
