"""What the clients share: a round of calls, one at a time, and one line of JSON; runs under every interpreter."""

import json
import time
from collections.abc import Awaitable, Callable

__all__ = ["report"]


async def report(one: Callable[[str], Awaitable[str]], calls: int) -> None:
    """Warm up, then print calls a second, the median of them, and what of each this process computed."""
    for count in (max(1, calls // 5), calls):
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
    print(json.dumps({"rate": rate, "us p50": sorted(taken)[count // 2] * 1e6, "us computed": computed / count * 1e6}))
