"""Relays lines between the standard streams and a port: what a client under test starts as its server over stdio."""

import os
import socket
import sys
import threading


def main() -> None:
    """Relay until either side is done."""
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as far:

        def back() -> None:
            while data := far.recv(65536):
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
            os._exit(0)  # the main thread waits for a line that may never come

        threading.Thread(target=back, daemon=True).start()
        while line := sys.stdin.buffer.readline():
            far.sendall(line)
        far.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main()
