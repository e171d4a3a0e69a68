"""How far a run is: a bar on terminals, a line a question elsewhere; on standard error, so that tables can be kept."""

import shutil
import sys
import time
from typing import TextIO

__all__ = ["Progress"]


class Progress:
    """Tells of a run.

    Args:
        seconds: that each question takes, roughly.
        stream: where.
    """

    def __init__(self, seconds: dict[str, float], stream: TextIO | None = None) -> None:
        self._seconds = seconds
        self._stream = sys.stderr if stream is None else stream
        self._is_bar = self._stream.isatty()
        self._done = 0.0
        self._number = 0
        self._name = ""
        self._began = self._begun = time.monotonic()

    def begin(self, name: str) -> None:
        """Say which question comes next."""
        self._name, self._begun = name, time.monotonic()
        self._number += 1
        self.tell("")

    def tell(self, what: str) -> None:
        """Say what is being measured."""
        if not self._is_bar:
            return
        whole = sum(self._seconds.values())
        inside = min(0.95, (time.monotonic() - self._begun) / self._seconds[self._name])
        share = (self._done + inside * self._seconds[self._name]) / whole
        bar = "█" * int(share * 24) + "░" * (24 - int(share * 24))
        gone = int(time.monotonic() - self._began)
        text = f"{bar} {share:4.0%} {gone // 60}:{gone % 60:02} {self._number}/{len(self._seconds)} {self._name}"
        text += f": {what}" if what else ""
        width = shutil.get_terminal_size().columns - 1
        self._stream.write(f"\r{text[:width]:<{width}}")
        self._stream.flush()

    def end(self) -> None:
        """Say that the question is answered."""
        self._done += self._seconds[self._name]
        if self._is_bar:
            self._stream.write("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r")
        else:
            taken = time.monotonic() - self._begun
            self._stream.write(f"... {self._number}/{len(self._seconds)} {self._name}: {taken:.0f} s\n")
        self._stream.flush()
