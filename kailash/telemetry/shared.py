"""Memory that the workers of one port share: each counts in a region of its own, and reads them all.

The supervisor makes it before the first fork, so every worker has it, also one that takes the place of a dead one: it
finds the counts of its predecessor in the region of its number and goes on from them. Nothing that was counted is lost
with a process, no counter ever goes backwards, and there is no file to clean up.

region  = [bytes used][block]…
block   = [bytes of the key][cells][key, padded to 8][cell]…      every number is eight bytes
"""

import mmap
import struct
from collections.abc import Iterator
from typing import Final

__all__ = ["Region", "SharedMemory"]

_WORD: Final = 8
_HEAD = struct.Struct("=QQ")
_USED = struct.Struct("=Q")

REGION_BYTES: Final = 4 << 20
"""Room for some five thousand entries; what is not used is never made."""


class Region:
    """Where one worker counts.

    Args:
        memory: its part of what is shared.
    """

    def __init__(self, memory: "memoryview[int]") -> None:
        self._memory = memory
        self._found = dict(self.blocks())

    def blocks(self) -> Iterator[tuple[str, "memoryview[float]"]]:
        """Iterate over what is counted here, by key; may be called while its owner counts."""
        (used,) = _USED.unpack_from(self._memory, 0)
        at = _WORD
        while at < _WORD + used:
            key_bytes, length = _HEAD.unpack_from(self._memory, at)
            key_at = at + _HEAD.size
            cells_at = key_at + _padded(key_bytes)
            at = cells_at + length * _WORD
            key = bytes(self._memory[key_at : key_at + key_bytes]).decode()
            yield key, self._memory[cells_at:at].cast("d")

    def cells(self, key: str, length: int) -> "memoryview[float] | None":
        """Return the cells of a key, made if there are none; `None` when there is no room."""
        found = self._found.get(key)
        if found is None:
            found = self._make(key.encode(errors="replace"), length)
            if found is not None:
                self._found[key] = found
        return found

    def _make(self, key: bytes, length: int) -> "memoryview[float] | None":
        (used,) = _USED.unpack_from(self._memory, 0)
        at = _WORD + used
        key_at = at + _HEAD.size
        cells_at = key_at + _padded(len(key))
        end = cells_at + length * _WORD
        if end > len(self._memory):
            return None
        _HEAD.pack_into(self._memory, at, len(key), length)
        self._memory[key_at : key_at + len(key)] = key
        # Last: whoever reads meanwhile sees all of a block, or nothing.
        _USED.pack_into(self._memory, 0, end - _WORD)
        return self._memory[cells_at:end].cast("d")


class SharedMemory:
    """The regions of all workers. Made before they are forked.

    Args:
        workers: how many.
        region_bytes: size of each region.
    """

    def __init__(self, workers: int, *, region_bytes: int = REGION_BYTES) -> None:
        self._size = region_bytes
        # Anonymous, and shared with whatever is forked from this process.
        self._memory = memoryview(mmap.mmap(-1, workers * region_bytes))
        self._count = workers

    def region(self, number: int) -> Region:
        """Return the region of a worker."""
        return Region(self._memory[number * self._size : (number + 1) * self._size])

    def regions(self) -> Iterator[Region]:
        """Iterate over the regions of all workers."""
        return map(self.region, range(self._count))


def _padded(length: int) -> int:
    return -(-length // _WORD) * _WORD
