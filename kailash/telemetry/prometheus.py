"""Metrics as Prometheus reads them, at `/metrics`.

The numbers are those of all workers that share the port, as `shared` tells: none goes backwards when one is replaced.
The text is written here and not by prometheus-client, which takes five times as long, in which the loop serves nobody;
`registry` hands the same families to those who have a registry of that package.
"""

import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Final, NamedTuple

from protocol.framing.httphead import RequestHead
from protocol.http.answer import ANYWHERE, Answer, Arrival, Header
from protocol.http.guard import Guard, GuardOptions

from .histogram import PROMETHEUS_SECONDS, SECONDS
from .metrics import BUCKETS, CACHED, COUNTER, KINDS, OUTCOMES, REFUSAL, SUM, VALUE, MetricsCollector, Refusal, Series

__all__ = ["Family", "Labels", "MetricsEndpoint", "Sample", "exposition", "families"]

_TOLD: Final = [(SECONDS.index(bound), repr(bound)) for bound in PROMETHEUS_SECONDS]
"""Up to which bucket the values of a told bound reach, and how the bound is written."""
_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9_]")
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})
_HELP: Final = {
    "in_flight": "Requests that are being handled.",
    "sessions": "Sessions that are open.",
    "circuit_breaker_state": "Circuit breakers: 0 closed, 1 half open, 2 open.",
}
_CONTENT_TYPE: Final = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")


class Labels:
    """Labels that several samples have, written once."""

    __slots__ = ("pairs", "text")

    def __init__(self, **pairs: str) -> None:
        self.pairs = pairs
        self.text = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in pairs.items())


class Sample(NamedTuple):
    """One number."""

    suffix: str
    """What its name has beyond its family's."""
    labels: Labels
    value: float
    le: str | None = None
    """The upper end of a bucket."""


class Family(NamedTuple):
    """Samples of one name."""

    name: str
    kind: str
    """`counter`, `gauge`, `histogram` or `summary`."""
    documentation: str
    samples: list[Sample]


def families(metrics: MetricsCollector) -> Iterator[Family]:
    """Yield everything that is counted, in the names and units of Prometheus' conventions."""
    series = metrics.series()
    requests: list[Sample] = []
    seconds: list[Sample] = []
    hits: list[Sample] = []
    for kind in KINDS:
        for name, cells in series.get(kind, {}).items():
            labels = Labels(kind=kind, name=name)
            requests += (
                Sample("_total", Labels(kind=kind, name=name, outcome=outcome.value), cells[outcome.index])
                for outcome in OUTCOMES
            )
            upto = list(accumulate(cells[BUCKETS:]))
            seconds += (Sample("_bucket", labels, upto[index], le) for index, le in _TOLD)
            seconds.append(Sample("_bucket", labels, upto[-1], "+Inf"))
            seconds.append(Sample("_count", labels, upto[-1]))
            seconds.append(Sample("_sum", labels, cells[SUM]))
            hits.append(Sample("_total", labels, cells[CACHED]))
    refused = series.get(REFUSAL, {})
    refusals = [
        Sample("_total", Labels(reason=reason.value), refused.get(reason.value, (0.0,))[0]) for reason in Refusal
    ]
    yield Family("kailash_mcp_requests", "counter", "Requests for an entry, by outcome.", requests)
    yield Family("kailash_mcp_request_duration_seconds", "histogram", "Duration of requests that were let in.", seconds)
    yield Family("kailash_mcp_cache_hits", "counter", "Requests answered from the cache.", hits)
    yield Family("kailash_mcp_refusals", "counter", "Requests that were not let in, by reason.", refusals)
    for name, values in metrics.gauges().items():
        samples = [Sample("", Labels(name=label) if label else Labels(), value) for label, value in values.items()]
        yield Family(f"kailash_mcp_{_NOT_IN_NAMES.sub('_', name)}", "gauge", _HELP.get(name, "A gauge."), samples)
    yield from _custom(series)


def _custom(series: Series) -> Iterator[Family]:
    """Yield what users' code counts: names that are not ours to make names of families."""
    counts = [Sample("_total", Labels(name=name), cells[0]) for name, cells in series.get(COUNTER, {}).items()]
    yield Family("kailash_mcp_custom", "counter", "Counted by the server's own code.", counts)
    values: list[Sample] = []
    for name, cells in series.get(VALUE, {}).items():
        labels = Labels(name=name)
        values += (Sample("_count", labels, cells[0]), Sample("_sum", labels, cells[1]))
    yield Family("kailash_mcp_custom_value", "summary", "Recorded by the server's own code.", values)


def exposition(metrics: MetricsCollector) -> str:
    """Return all metrics in Prometheus' text format."""
    lines: list[str] = []
    for name, kind, documentation, samples in families(metrics):
        shown = f"{name}_total" if kind == "counter" else name
        lines.append(f"# HELP {shown} {documentation}\n# TYPE {shown} {kind}\n")
        for suffix, labels, value, le in samples:
            if le is not None:
                lines.append(f'{name}{suffix}{{{labels.text},le="{le}"}} {value!r}\n')
            elif labels.text:
                lines.append(f"{name}{suffix}{{{labels.text}}} {value!r}\n")
            else:
                lines.append(f"{name}{suffix} {value!r}\n")
    return "".join(lines)


class MetricsEndpoint:
    """Answers GET with all metrics, in Prometheus' text format.

    Args:
        metrics: of the server.
        is_open: who asks is not found out; else it is, as for any request of the server.
        guard: whose pages may read them, in browsers, and for which hosts.
    """

    def __init__(self, metrics: MetricsCollector, *, is_open: bool = False, guard: GuardOptions | None = None) -> None:
        self.is_open = is_open
        self._metrics = metrics
        self._guard = Guard(guard or GuardOptions(), {"GET": (), "HEAD": ()})

    def refuse(self, head: RequestHead, arrival: Arrival = ANYWHERE) -> Answer | None:
        """Return the answer to a request from elsewhere, or of another method."""
        return self._guard.refuse(head, arrival)

    def too_large(self) -> Answer:
        """Return the answer to a body that is too long."""
        return Answer(413, [])

    def cors(self, head: RequestHead) -> list[Header]:
        """Return the headers that let a page of an allowed origin read the answer."""
        return self._guard.cors(head)

    def receive_request(
        self,
        head: RequestHead,
        body: bytes,
        *,
        now: float,
        arrival: Arrival = ANYWHERE,
        principal: str | None = None,
        is_checked: bool = False,
    ) -> Answer:
        """Return the metrics."""
        # Lone surrogates of a name cannot be sent.
        text = exposition(self._metrics).encode(errors="replace")
        return Answer(200, [_CONTENT_TYPE, (b"cache-control", b"no-store"), *self.cors(head)], text)
