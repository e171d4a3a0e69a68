"""Stands between a client and the server it starts, and writes down every line that passes.

`tee.py LOG command args...`; a line is written down before it is passed on: no answer stands before its question.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from typing import BinaryIO


def main() -> int:
    log_path, *command = sys.argv[1:]
    lock = threading.Lock()
    with open(log_path, "ab", buffering=0) as log:
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdin is not None and child.stdout is not None
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())

        def pass_on(sender: str, source: BinaryIO, sink: BinaryIO) -> None:
            for line in source:
                with lock:
                    log.write(json.dumps([sender, line.decode("utf-8", "backslashreplace")]).encode() + b"\n")
                try:
                    sink.write(line)
                    sink.flush()
                except OSError:
                    return  # nobody reads any more
            if sender == "client":
                try:
                    sink.close()
                except OSError:
                    return

        threading.Thread(target=pass_on, args=("client", sys.stdin.buffer, child.stdin), daemon=True).start()
        pass_on("server", child.stdout, sys.stdout.buffer)
        return child.wait()


if __name__ == "__main__":
    status = main()
    # The thread may still sit in a read of standard input, for which an orderly exit would wait.
    os._exit(status if status >= 0 else 128 - status)
