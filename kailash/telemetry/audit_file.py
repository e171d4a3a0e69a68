"""A file of lines that several processes append to, and that is set aside when it is full."""

import contextlib
import io
import os
import threading
from collections.abc import Iterator
from typing import Final

try:
    import fcntl
except ImportError:  # a platform that cannot lock has no workers either
    fcntl = None  # type: ignore[assignment]

__all__ = ["AuditFile"]

_MODE: Final = 0o600


class AuditFile:
    """Appends lines; those of several processes do not mix, and none is lost when the file changes.

    The standard library's rotating handler knows of one process: with two, each would set aside the file that the other
    has just begun.

    Args:
        path: of the file; those set aside are `path.1`, `path.2`, …, the newest first.
        max_bytes: size at which it is set aside; `None`: never.
        backups: files set aside that are kept.
    """

    def __init__(self, path: str, *, max_bytes: int | None, backups: int) -> None:
        self._path = os.path.abspath(path)
        self._max_bytes = max_bytes
        self._backups = backups
        self._lock = threading.Lock()
        self._file: io.FileIO | None = None

    def write(self, line: str) -> None:
        """Append a line.

        Raises:
            OSError: that is not possible.
        """
        data = line.encode() + b"\n"
        with self._lock:
            file = self._open()
            if self._max_bytes is not None and self._size(file) + len(data) > self._max_bytes:
                file = self._turn(len(data), self._max_bytes)
            # One call, so that the kernel keeps lines of several processes apart.
            written = file.write(data)
            if written is not None and written < len(data):
                raise OSError(f"only {written} of {len(data)} bytes could be written to {self._path}")

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _open(self) -> io.FileIO:
        if self._file is None:
            self._file = io.FileIO(self._path, "a", opener=_open_private)
        return self._file

    def _size(self, file: io.FileIO) -> int:
        return os.fstat(file.fileno()).st_size

    def _turn(self, more: int, most: int) -> io.FileIO:
        """Go on in a new file: one that another process has begun, or our own."""
        with self._one_at_a_time():
            self._close()
            file = self._open()
            size = self._size(file)
            if size and size + more > most:
                self._close()
                for number in range(self._backups - 1, 0, -1):
                    with contextlib.suppress(FileNotFoundError):
                        os.replace(f"{self._path}.{number}", f"{self._path}.{number + 1}")
                os.replace(self._path, f"{self._path}.1")
                file = self._open()
        return file

    @contextlib.contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        if fcntl is None:
            yield
            return
        descriptor = _open_private(f"{self._path}.lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _open_private(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), _MODE)
    if hasattr(os, "fchmod") and os.fstat(descriptor).st_mode & 0o077:
        # It was there before us, open to others.
        os.fchmod(descriptor, _MODE)
    return descriptor
