"""Calls that repeat: of a `tools/call` that differs from earlier ones in id and arguments, nothing else is read again.

A client writes every call of one tool with the same text around the id and the arguments. A `CallReader`, one for each
connection, remembers such texts (`Form`). That a form is understood is proved once, by experiment: with another id and
other arguments in their places it must decode to a call with just these. What a place in a JSON text means is settled
by the text around it, so that whatever object stands there later, the rest means the same.

    text = start · id · middle · arguments · end        as most peers write it
    text = start · arguments · middle · id · end        where `params` comes before `id`

The arguments of a `Repeat` were found and not read: whoever decodes them finds out whether they are JSON.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from .events import Context
from .jsonrpc import DECODE_ERRORS, MOST_DIGITS, Envelope, Malformed, decode, is_too_deep, is_utf8
from .limits import Limits
from .params import CallToolParams

if TYPE_CHECKING:
    from .profiles import ServerProfile

__all__ = ["CallReader", "Form", "Repeat"]

_CALL = "tools/call"
_ARGUMENTS = re.compile(rb'"arguments": ?')
_REACH = 2048
"""Longest text in front of the arguments, and behind them, that is remembered."""
_MOST_FORMS = 16
_MOST_BYTES = 16 * 1024
"""Of text that one connection remembers; who calls more tools than that holds is read as ever, now and then."""
_LONGEST_REST = 63
_ID = re.compile(rb'"id": ?(0|[1-9][0-9]*)')
_PROBE = b'{"probe":[0]}'
_RAW_PROBE = Raw(_PROBE)
_ZERO = ord("0")
_decode_call = msgspec.json.Decoder(CallToolParams).decode


class Form(Struct, eq=False):
    """What stands around the id and the arguments of some calls, and what the engine made of it last."""

    params: CallToolParams
    """What all of them say, without the arguments."""
    middle: bytes
    end: bytes
    profile: "ServerProfile | None" = None
    """Whose engine let such a call in."""
    context: Context | None = None
    """To what it was let in."""
    progress_token: int | str | UnsetType = UNSET
    headers: Any = None
    """What its transport said of it."""


class Repeat(Envelope, gc=False):
    """A call of a known form; its params are not read, and `params` is unset."""

    form: Any = None
    arguments: Raw = Raw(b"")
    """The text in their place."""


class CallReader:
    """Reads the messages of one connection, which it takes for a client's."""

    __slots__ = ("_forms", "_mark", "_pause", "_rest", "_size", "_start")

    def __init__(self) -> None:
        self._forms: dict[bytes, Form] | None = None
        """By their middle where the id comes first, else by their start."""
        self._start = b""
        """What stands before the id; empty where that comes last."""
        self._mark = b""
        """What stands before the arguments."""
        self._size = 0
        # A form that nothing is found of was learned in vain; then the next is learned later, and so on.
        self._rest = 1
        self._pause = 0

    def read(self, data: bytes, limits: Limits) -> Envelope | Malformed:
        """Decode one message as `decode` does, or recognise it: `Repeat`."""
        if self._forms is not None:
            call = self._find(self._forms, data, limits)
            if call is not None:
                self._pause = 0
                return call
        message = decode(data, limits)
        if type(message) is Envelope and message.method == _CALL:
            if self._rest:
                self._rest -= 1
            else:
                self._rest = self._pause
                self._pause = min(2 * self._pause + 1, _LONGEST_REST)
                self._learn(data, message, limits)
        return message

    def _find(self, forms: dict[bytes, Form], data: bytes, limits: Limits) -> Repeat | None:
        mark, start = self._mark, self._start
        at = data.find(mark, 0, _REACH) + len(mark)
        if start:
            begin = len(start)
            stop = data.find(b",", begin, begin + MOST_DIGITS + 1)
            form = forms.get(data[stop:at])
            if form is None or not (data.startswith(start) and data.endswith(form.end)):
                return None
            digits = data[begin:stop]
            stop = len(data) - len(form.end)
        else:
            form = forms.get(data[:at])
            if form is None or not data.endswith(form.end):
                return None
            last = len(data) - len(form.end)
            stop = data.rfind(form.middle, at, last)
            digits = data[stop + len(form.middle) : last]
            if stop < 0 or len(digits) > MOST_DIGITS:
                return None
        if not digits.isdigit() or (digits[0] == _ZERO and len(digits) > 1):
            return None
        # What `decode` finds in the bytes of a whole text. Around the arguments all is well; they are two levels deep.
        if not (data.isascii() or is_utf8(data)):
            return None
        arguments: bytes | memoryview
        if stop - at <= limits.depth - 4:
            arguments = data[at:stop]
        elif is_too_deep(data, limits.depth):
            return None
        else:
            arguments = memoryview(data)[at:stop]
        return Repeat("2.0", int(digits), _CALL, form=form, arguments=Raw(arguments))

    def _learn(self, data: bytes, message: Envelope, limits: Limits) -> None:
        """Remember the form of a call, if it has one."""
        if type(message.id) is not int or message.id < 0:
            return
        params = _params_of(message)
        if params is None or params.arguments is UNSET or not _is_plain(params):
            return
        mark = _ARGUMENTS.search(data, 0, _REACH)
        if mark is None:
            return
        at, arguments = mark.end(), bytes(params.arguments)
        before, behind = data[:at], data[at + len(arguments) :]
        if not data.startswith(arguments, at) or len(behind) > _REACH:
            return
        for start, middle, end, is_first in _split(before, behind):
            if _proves(start, middle, end, is_first, message, params, limits):
                meta = params.meta if params.meta is UNSET else Raw(bytes(params.meta))
                self._keep(mark[0], start, Form(CallToolParams(name=params.name, meta=meta), middle, end), is_first)
                return

    def _keep(self, mark: bytes, start: bytes, form: Form, is_first: bool) -> None:
        layout = (mark, start if is_first else b"")
        # What is remembered of a call: its text, and `_meta` once more.
        size = len(start) + len(form.middle) + 2 * len(form.end)
        forms = self._forms
        is_other = (self._mark, self._start) != layout
        if forms is None or is_other or len(forms) >= _MOST_FORMS or self._size + size > _MOST_BYTES:
            forms = self._forms = {}
            self._size = 0
            self._mark, self._start = layout
        self._size += size
        forms[form.middle if is_first else start] = form


def _params_of(message: Envelope) -> CallToolParams | None:
    """Return the params of a call, `None` if they are none."""
    try:
        return None if message.params is UNSET else _decode_call(message.params)
    except DECODE_ERRORS:
        return None


def _is_plain(params: CallToolParams) -> bool:
    """Tell whether a call has nothing that is different each time."""
    return params.request_state is UNSET and params.input_responses is UNSET and params.task is UNSET


def _split(before: bytes, behind: bytes) -> Iterator[tuple[bytes, bytes, bytes, bool]]:
    """Cut what stands around the arguments where the id may be: start, middle, end, and whether the id comes first."""
    found = _ID.search(before)
    if found is not None and before.startswith(b",", found.end()):
        yield before[: found.start(1)], before[found.end() :], behind, True
    for found in list(_ID.finditer(behind))[-1:]:
        yield before, behind[: found.start(1)], behind[found.end() :], False


def _proves(
    start: bytes,
    middle: bytes,
    end: bytes,
    is_first: bool,
    message: Envelope,
    params: CallToolParams,
    limits: Limits,
) -> bool:
    """Tell whether other values in the places of id and arguments are its id and its arguments, and change no more."""
    assert isinstance(message.id, int)
    other = message.id + 1
    values = (b"%d" % other, _PROBE) if is_first else (_PROBE, b"%d" % other)
    told = decode(b"".join((start, values[0], middle, values[1], end)), limits)
    if type(told) is not Envelope or (told.id, told.method) != (other, _CALL):
        return False
    again = _params_of(told)
    expected = (params.name, _RAW_PROBE, params.meta)
    return again is not None and _is_plain(again) and (again.name, again.arguments, again.meta) == expected
