"""What a result of the envelope era says it is: complete, a request for input, a task, or nothing negotiated."""

from collections.abc import Mapping

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from . import model
from .errors import ErrorCode, ErrorObject
from .events import Call, Failure, InputRequest, InputRequired, Result
from .jsonrpc import DECODE_ERRORS
from .methods import DECODERS, METHODS
from .results import InputRequiredResult

__all__ = ["outcome_of", "retry_members"]


class _Head(Struct):
    """The member of a result that says what it is."""

    result_type: str | UnsetType = msgspec.field(name="resultType", default=UNSET)


_decode_head = msgspec.json.Decoder(_Head).decode


def outcome_of(call: Call, raw: Raw, *, takes_tasks: bool, most_rounds: int) -> Result | InputRequired | Failure:
    """Return the event a result is.

    Args:
        call: what it answers.
        raw: the result.
        takes_tasks: the tasks extension was declared, so that a tool call may be answered with a task.
        most_rounds: how often one call may be answered with a request for input.
    """
    try:
        head = _decode_head(raw)
        # "If absent, clients MUST treat it as complete" — 2026-07-28 basic#results
        kind = "complete" if head.result_type is UNSET else head.result_type
        if kind == "input_required":
            return _input_required(call, raw, most_rounds)
    except DECODE_ERRORS as error:
        return _invalid(call, str(error))
    if kind == "complete" or (kind == "task" and call.method == "tools/call" and takes_tasks):
        return Result(call, raw, kind)
    return _invalid(call, f"resultType {kind!r} was not negotiated")


def _input_required(call: Call, raw: Raw, most_rounds: int) -> InputRequired | Failure:
    result = model.decode(raw, InputRequiredResult)
    if call.method not in METHODS or not METHODS[call.method].interruptible:
        return _invalid(call, f"{call.method} cannot be answered input_required")
    if result.input_requests is UNSET and result.request_state is UNSET:
        return _invalid(call, "input_required with neither inputRequests nor requestState")
    requests: dict[str, InputRequest] = {}
    for key, entry in ({} if result.input_requests is UNSET else result.input_requests).items():
        spec = METHODS.get(entry.method)
        if spec is None or not spec.is_embeddable:
            return _invalid(call, f"input request {key!r} of method {entry.method!r}")
        params = DECODERS[entry.method](b"{}" if entry.params is UNSET else entry.params)
        requests[key] = InputRequest(entry.method, params)
    if call.rounds >= most_rounds:
        return _invalid(call, f"more than {most_rounds} rounds of input")
    return InputRequired(call, requests, result.request_state)


def _invalid(call: Call, why: str) -> Failure:
    return Failure(call, ErrorObject(ErrorCode.INTERNAL_ERROR, f"invalid response: {why}"), is_local=True)


def retry_members(needed: InputRequired, responses: Mapping[str, Struct | Raw]) -> bytes:
    """Return the members that a retry adds to the request it repeats, each with its comma in front."""
    members = b""
    if needed.requests:
        bare = {key: Raw(model.encode(value)) for key, value in responses.items()}
        members += b',"inputResponses":' + model.encode(bare)
    if needed.state is not UNSET:
        # "MUST echo back the exact value", and only what the latest answer gave — 2026-07-28 basic/patterns/mrtr
        members += b',"requestState":' + model.encode(needed.state)
    return members
