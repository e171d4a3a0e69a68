"""Latency at a fixed rate counts from when a request was due, and a server that stops answering is not waited for."""

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from benchmarks.paced import Pace, PacedLines, paced
from benchmarks.processes import Lines
from benchmarks.webload import Requests

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b"


@contextmanager
def _serving(delay_of: Callable[[int], float]) -> Iterator[int]:
    """Serve one connection, and wait before each answer."""

    def serve() -> None:
        # The load hangs up on a server that is too slow.
        with listener.accept()[0] as accepted, suppress(ConnectionError):
            number = 0
            while data := accepted.recv(65536):
                time.sleep(delay_of(number))
                number += 1
                at = data.index(b'"id":')
                body = data[at : data.index(b",", at)] + b',"hello"'
                accepted.sendall(_ANSWER % (len(body), body))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_one_slow_answer_makes_those_late_that_were_due_meanwhile() -> None:
    # 30 requests, 100 a second, on one connection: the first takes 0.2 s, and nineteen more were due before it ended.
    with _serving(lambda number: 0.2 if number == 0 else 0.0) as port:
        found = paced(port, Requests(port).make(30), Pace(100, 0.3, connections=1))
    assert found.detail["most"] > 190
    # A closed loop would have seen one slow call among quick ones, and a median near nothing.
    assert found.value > 20


def test_a_server_that_cannot_keep_up_is_not_waited_for_and_what_it_owes_counts() -> None:
    with _serving(lambda number: 0.05) as port:
        started = time.perf_counter()
        found = paced(port, Requests(port).make(100), Pace(500, 0.2, connections=1))
        taken = time.perf_counter() - started
    assert taken < 10
    assert found.detail["unanswered"] > 0.5
    assert found.value > 300


_ECHO = """
import sys, time
for number, line in enumerate(sys.stdin):
    time.sleep(0.2 if number == 0 else 0.0)
    print(line.replace('"params"', '"result"'), end="", flush=True)
"""


def test_over_pipes_nobody_waits_for_an_answer_to_ask_and_each_counts_from_when_it_was_due() -> None:
    with Lines([sys.executable, "-c", _ECHO]) as lines:
        load = PacedLines(lines)
        slow, quick = load.run(Pace(100, 0.3)), load.run(Pace(100, 0.3))
    assert slow.detail["most"] > 190 and slow.value > 20
    assert quick.value < slow.value


def test_what_is_owed_after_a_turn_is_awaited_before_the_next_one() -> None:
    with Lines([sys.executable, "-c", _ECHO]) as lines:
        load = PacedLines(lines)
        found = load.run(Pace(1000, 0.02))
        assert found.detail["unanswered"] == 1 and found.value > 40
        assert load.run(Pace(50, 0.1)).value < 190
