"""What a client sends that is no call: requests of the binding's own, notifications and responses."""

from collections.abc import Callable

from msgspec import UNSET, Raw

from ..errors import ErrorCode, ErrorObject
from ..jsonrpc import Envelope, RequestId
from .answer import Header
from .client_errors import lost, read_error
from .client_exchange import ClientExchange, ClientWire

__all__ = ["Errand", "Notice"]


class Errand(ClientExchange):
    """A request of the binding's own; nobody outside sees it or its answer.

    Args:
        wire: where the exchange belongs.
        headers: of the POST.
        data: the request.
        request_id: its id.
        then: told the result or the error, once.
        now: the time.
    """

    def __init__(
        self,
        wire: ClientWire,
        headers: list[Header],
        data: bytes,
        request_id: RequestId,
        then: "Callable[[Errand, Raw | None, ErrorObject | None, float], None]",
        now: float,
    ) -> None:
        super().__init__(wire, "POST", headers, data, request_id=request_id)
        self._id = request_id
        self._then = then
        self.was_lost = False
        """No whole response came, or none in time: it may be different the next time."""
        wire.answers[request_id] = self
        wire.deadlines.arm(self, now + wire.options.errand_timeout)
        wire.start(self)

    def receive_response(self, envelope: Envelope, data: bytes, now: float) -> None:
        """Take the response."""
        self.wire.linger(self, now)
        if envelope.result is not UNSET:
            self._end(envelope.result, None, now)
        else:
            found = read_error(data)
            malformed = ErrorObject(ErrorCode.INTERNAL_ERROR, "malformed error object")
            self._end(None, malformed if found is None else found.error, now)

    def _receive_body(self, body: bytes, now: float) -> None:
        if self.is_json:
            self.wire.receive(self, body, now)
        self._end(None, self.refusal(body), now)

    def _receive_refusal(self, body: bytes, now: float) -> None:
        self._end(None, self.refusal(body), now)

    def _receive_cut(self, why: str, now: float, *, was_sent: bool) -> None:
        self.was_lost = True
        self._end(None, lost("a request of the client's own", why, was_sent=was_sent), now)

    def handle_due(self, now: float) -> None:
        """Wait no longer."""
        self.wire.drop(self)
        self._receive_cut("it was not answered in time", now, was_sent=True)

    def _end(self, result: Raw | None, error: ErrorObject | None, now: float) -> None:
        if self.wire.answers.pop(self._id, None) is not None:
            self._then(self, result, error, now)


class Notice(ClientExchange):
    """A notification or a response on its way.

    Args:
        wire: where the exchange belongs.
        headers: of the POST.
        data: the message.
        done: told that the server took it, or why it did not.
    """

    def __init__(
        self,
        wire: ClientWire,
        headers: list[Header],
        data: bytes,
        done: "Callable[[Notice, ErrorObject | None, float], None]",
    ) -> None:
        super().__init__(wire, "POST", headers, data)
        self._done = done
        wire.start(self)

    def _receive_opening(self, now: float) -> None:
        # Nothing is to come on it; what comes all the same, and soon, is read.
        self.wire.linger(self, now)
        self._done(self, None, now)

    def _receive_body(self, body: bytes, now: float) -> None:
        self._done(self, None, now)

    def _receive_refusal(self, body: bytes, now: float) -> None:
        self._done(self, self.refusal(body), now)

    def _receive_cut(self, why: str, now: float, *, was_sent: bool) -> None:
        if not self.is_stream:
            self._done(self, lost("a notification or a response", why, was_sent=was_sent), now)
