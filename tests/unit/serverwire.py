"""What the tests of the server role share: calls, and the codes of what is answered."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import REVISIONS, ChangeKind, ChangeNotice, ElicitParams, EmptyParams, Era, InputRequest, Revision
from tests.pair import (
    HANDSHAKES,
    envelope_meta,
    enveloped,
    request,
)

IO = "io.modelcontextprotocol/"
EXTENSION = f"{IO}tasks"
ALL = pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)
OLD = pytest.mark.parametrize("revision", HANDSHAKES, ids=lambda revision: revision.name)
VISIT = InputRequest("elicitation/create", ElicitParams(message="m", mode="url", url="https://h/", task={}))
ROOTS = InputRequest("roots/list", EmptyParams())
TOOLS, PROMPTS = ChangeNotice(ChangeKind.TOOLS), ChangeNotice(ChangeKind.PROMPTS)


def call(id_: Any, revision: Revision, params: Any = None, *, method: str = "tools/call", **meta: Any) -> Any:
    """Return a request as the revision writes it."""
    own = {"name": "t"} if params is None and method == "tools/call" else dict(params or {})
    if revision.era is Era.ENVELOPE:
        return enveloped(id_, method, own, meta=envelope_meta() | meta)
    return request(id_, method, own | ({"_meta": meta} if meta else {}))


def error_of(answers: list[Any], id_: Any = None) -> int:
    """Return the code of the only answer, an error to the request of that id."""
    (answer,) = answers
    assert answer["jsonrpc"] == "2.0" and "result" not in answer
    assert answer.get("id") == id_ and type(answer.get("id")) is type(id_)
    assert isinstance(answer["error"]["message"], str)
    code = answer["error"]["code"]
    assert isinstance(code, int)
    return code


def listen(id_: Any, *, tasks: bool = False, **wanted: Any) -> Any:
    """Return a request to subscribe."""
    meta = envelope_meta(capabilities={"extensions": {EXTENSION: {}}} if tasks else {})
    wanted = wanted or {"toolsListChanged": True}
    return enveloped(id_, "subscriptions/listen", {"notifications": wanted}, meta=meta)
