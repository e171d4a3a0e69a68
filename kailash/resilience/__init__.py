"""Policies that keep a server standing; they take `now` and never read a clock."""

from .breaker import BreakerRule, BreakerState, CircuitBreaker
from .cache import ResultCache
from .ratelimit import Rate, RateLimiter, Verdict

__all__ = ["BreakerRule", "BreakerState", "CircuitBreaker", "Rate", "RateLimiter", "ResultCache", "Verdict"]
