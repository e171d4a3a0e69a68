"""What a server tells of itself: metrics, the audit log, traces."""

from .audit import AuditLog, AuditSink
from .metrics import MetricsCollector, Outcome, Refusal, Slot
from .tracing import ClientSpan, Span, Tracing, open_tracing

__all__ = [
    "AuditLog",
    "AuditSink",
    "ClientSpan",
    "MetricsCollector",
    "Outcome",
    "Refusal",
    "Slot",
    "Span",
    "Tracing",
    "open_tracing",
]
