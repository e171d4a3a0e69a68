"""Policies that keep a server standing, and its clients patient; they take `now` and never read a clock."""

from .breaker import BreakerRule, BreakerState, CircuitBreaker
from .cache import ResultCache
from .ratelimit import Rate, RateLimiter, Verdict
from .retry import (
    CircuitBreakerRetry,
    ErrorAggregator,
    ExponentialBackoffRetry,
    RetryBudget,
    RetryStrategy,
    SimpleRetry,
)

__all__ = [
    "BreakerRule",
    "BreakerState",
    "CircuitBreaker",
    "CircuitBreakerRetry",
    "ErrorAggregator",
    "ExponentialBackoffRetry",
    "Rate",
    "RateLimiter",
    "ResultCache",
    "RetryBudget",
    "RetryStrategy",
    "SimpleRetry",
    "Verdict",
]
