"""What the C library does with memory that large messages leave behind. For processes that are ours alone."""

from __future__ import annotations

import sys

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # <malloc.h>
_KEPT = 32 << 20
_LARGE = 4 << 20


def keep_freed_memory() -> bool:
    """Keep up to 32 MiB of what is freed for the next message; returns whether that can be said here.

    glibc gives the top of the heap back when more than 128 KiB of it are free, so that each message of 100 kB is paid
    for with a dozen system calls and the zeroing of all its pages: twice the time of its decoding and encoding.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes  # 5 ms that only servers spend which will save them

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # another C library, which has rules of its own
    return bool(mallopt(_TRIM_THRESHOLD, _KEPT) and mallopt(_MMAP_THRESHOLD, _LARGE))
