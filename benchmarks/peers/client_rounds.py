"""What the clients share: rounds of calls, one at a time, and one line of JSON; runs under every interpreter."""

import json
import time
from collections.abc import Awaitable, Callable

__all__ = ["report"]


async def report(one: Callable[[str], Awaitable[str]], calls: int, rounds: int) -> None:
    """Print calls a second of the best round, the median of its calls, and what of them this process computed."""
    best: dict[str, float] = {"rate": 0.0}
    for number in range(rounds + 1):
        count = calls if number else max(1, calls // 5)
        taken = []
        computed = time.process_time()
        started = last = time.perf_counter()
        for call in range(count):
            message = f"hello {call}"
            said = await one(message)
            if said != message:
                raise RuntimeError(f"asked to echo {message!r}, the server said {said!r}")
            now = time.perf_counter()
            taken.append(now - last)
            last = now
        rate, computed = count / (last - started), time.process_time() - computed
        if number and rate > best["rate"]:
            best = {"rate": rate, "us p50": sorted(taken)[count // 2] * 1e6, "us computed": computed / count * 1e6}
    print(json.dumps(best))
