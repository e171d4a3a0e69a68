"""A server's metrics among those of a registry of prometheus-client. Needs the extra `metrics`."""

from collections.abc import Iterable, Iterator

from .metrics import MetricsCollector
from .prometheus import families

try:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        'a registry for Prometheus needs the package prometheus-client: pip install "kailash-mcp-engine[metrics]"'
    ) from error

__all__ = ["PrometheusCollector"]


class PrometheusCollector(Collector):
    """Tells prometheus-client what a server counts: `REGISTRY.register(PrometheusCollector(server.metrics))`.

    Args:
        metrics: whose numbers.
    """

    def __init__(self, metrics: MetricsCollector) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        """Return nothing: what there is to tell is known when it is told."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family."""
        for name, kind, documentation, samples in families(self._metrics):
            metric = Metric(name, documentation, kind)
            for suffix, labels, value, le in samples:
                pairs = labels.pairs if le is None else {**labels.pairs, "le": le}
                metric.add_sample(name + suffix, pairs, value)
            yield metric
