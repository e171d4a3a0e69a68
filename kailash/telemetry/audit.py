"""The audit log: one line for each decision, of who was let do what; never what was sent, and no secret."""

import inspect
import json
import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from .audit_file import AuditFile
from .metrics import Outcome

__all__ = ["AuditLog", "AuditSink"]

logger = logging.getLogger("kailash.telemetry.audit")

AuditSink = bool | str | os.PathLike[str] | Callable[[dict[str, Any]], object]
"""Where records go: `True` to the logger `kailash.audit`, a path to a file, or a function that takes each."""

LONGEST_FIELD: Final = 200
_COMPLAINT_PAUSE = 60.0


class AuditLog:
    """Writes one JSON object a line for each decision, and remembers the last ones.

    `{"time", "principal", "method", "name", "outcome", "reason", "latency_ms", "request_id", "transport"}`; text is cut
    at 200 characters, and everything that is not printable ASCII is escaped. A sink that fails costs its record and not
    the request: it is told of in the log once a minute.

    Args:
        sink: where to write.
        max_bytes: size at which a file is set aside and a new one begun; `None`: never.
        backups: files set aside that are kept.
        keep: records to remember, for `entries`.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        sink: AuditSink = True,
        *,
        max_bytes: int | None = 10 << 20,
        backups: int = 5,
        keep: int = 1000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        for name, number in (("max_bytes", max_bytes), ("backups", backups), ("keep", keep)):
            if number is not None and number < 1:
                raise ValueError(f"{name} must be one or more, not {number}")
        self._clock = clock
        self._lock = threading.Lock()
        self._last: deque[dict[str, Any]] = deque(maxlen=keep)
        self._lost = 0
        self._complained_at = -math.inf
        self._file: AuditFile | None = None
        self._send: Callable[[dict[str, Any]], object]
        if sink is True:
            self._send = _to_logger()
        elif callable(sink):
            if inspect.iscoroutinefunction(sink) or inspect.iscoroutinefunction(getattr(sink, "__call__", None)):  # noqa: B004
                raise TypeError("an audit sink is called where nothing is awaited: give a plain function")
            self._send = sink
        elif isinstance(sink, str | os.PathLike):
            self._file = AuditFile(os.fspath(sink), max_bytes=max_bytes, backups=backups)
            self._send = self._to_file
        else:
            raise TypeError(f"audit goes to True, a path or a function, not to {sink!r}")

    def write(
        self,
        *,
        principal: str | None,
        method: str,
        name: str | None,
        outcome: Outcome,
        reason: str | None,
        seconds: float,
        request_id: Any,
        transport: str,
    ) -> None:
        """Record a decision; never raises for what the sink does.

        Args:
            principal: who asked; `None`: nobody in particular.
            method: of the request.
            name: of the tool, resource or prompt.
            outcome: what came of it.
            reason: why not, in words that hold nothing of the request.
            seconds: how long it took.
            request_id: the request's id.
            transport: how it came.
        """
        record = {
            "time": _timestamp(self._clock()),
            "principal": _cut(principal),
            "method": _cut(method),
            "name": _cut(name),
            "outcome": outcome.value,
            "reason": _cut(reason),
            "latency_ms": round(seconds * 1000, 3),
            "request_id": _identifier(request_id),
            "transport": _cut(transport),
        }
        self._last.append(record)
        try:
            self._send(record)
        except Exception as error:
            self._complain(error)

    def entries(self, *, limit: int | None = 100, principal: str | None = None) -> list[dict[str, Any]]:
        """Return the last records, oldest first.

        Args:
            limit: how many at most; `None`: all that are remembered.
            principal: only those of one caller.
        """
        if limit is not None and limit < 0:
            raise ValueError(f"limit must not be negative, not {limit}")
        wanted = _cut(principal)
        found = [dict(each) for each in self._last.copy() if wanted is None or each["principal"] == wanted]
        return found if limit is None else found[len(found) - min(limit, len(found)) :]

    def close(self) -> None:
        """Close the file, if there is one; a record written later opens it again."""
        if self._file is not None:
            self._file.close()

    def _to_file(self, record: dict[str, Any]) -> None:
        assert self._file is not None
        self._file.write(_line(record))

    def _complain(self, error: Exception) -> None:
        with self._lock:
            self._lost += 1
            now = time.monotonic()
            if now - self._complained_at < _COMPLAINT_PAUSE:
                return
            self._complained_at = now
            lost, self._lost = self._lost, 0
        why = str(error).encode("unicode_escape").decode()[:LONGEST_FIELD]
        logger.error("! the audit log failed, %d records lost: %s: %s", lost, type(error).__name__, why)


def _to_logger() -> Callable[[dict[str, Any]], object]:
    target = logging.getLogger("kailash.audit")
    if target.level == logging.NOTSET:
        # Whoever asks for an audit log wants what was granted too, whatever level the program logs from.
        target.setLevel(logging.INFO)
    return lambda record: target.info("%s", _line(record))


def _line(record: dict[str, Any]) -> str:
    # "controls, ESC, bidi" — hardening R22: everything but printable ASCII is escaped, so a record is always one line.
    return json.dumps(record, separators=(",", ":"), ensure_ascii=True)


def _timestamp(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _cut(text: str | None) -> str | None:
    if text is None:
        return None
    text = str(text)
    return text if len(text) <= LONGEST_FIELD else f"{text[: LONGEST_FIELD - 1]}…"


def _identifier(request_id: Any) -> Any:
    if request_id is None or (type(request_id) is int and request_id.bit_length() < 64):
        return request_id
    return _cut(request_id if isinstance(request_id, str) else repr(request_id))
