"""Each question of the benchmarks, asked once and small, of ours and of the floor: none may rot unseen."""

from collections.abc import Callable

import pytest

import benchmarks.__main__ as program
from benchmarks import (
    bench_clients,
    bench_engine,
    bench_http,
    bench_payloads,
    bench_pipeline,
    bench_pool,
    bench_sessions,
    bench_sharing,
    bench_sse,
    bench_startup,
    bench_stdio,
    bench_websocket,
)
from benchmarks.harness import Figure, wanted
from benchmarks.subjects import WebServer, peer, servers
from benchmarks.webload import Load, Requests, Wire


def _stdio() -> list[Figure]:
    return [
        figure
        for name, command in servers([]).items()
        for figure in bench_stdio.measure(name, command, rounds=1, total=64)
    ]


def _startup() -> list[Figure]:
    return [bench_startup.first_call("ours", servers([])["ours"], rounds=1), *bench_startup.imports(1)]


SMALL: dict[str, Callable[[], list[Figure]]] = {
    "engine": lambda: bench_engine.run(1),
    "pipeline": lambda: bench_pipeline.run(1),
    "pool": lambda: bench_pool.run(1, calls=64),
    "sharing": lambda: bench_sharing.run(1, calls=64),
    "stdio": _stdio,
    "startup": _startup,
    "http": lambda: bench_http.run([], rounds=1, calls=200),
    "sessions": lambda: bench_sessions.run([], rounds=1, calls=200, sessions=50),
    "sse": lambda: bench_sse.run([], rounds=1, messages=200),
    "payloads": lambda: bench_payloads.run([], rounds=1, calls=16, lists=4),
    "clients": lambda: bench_clients.run([], rounds=1, calls=100),
    "websocket": lambda: bench_websocket.run([], rounds=1, calls=200, idle=50),
}


@pytest.mark.parametrize("question", program.QUESTIONS)
def test_every_question_is_answered(question: str) -> None:
    figures = SMALL[question]()
    assert {"ours", "handshake", "all of it", "in memory, quick"} & {figure.subject for figure in figures}
    # What is kept of sessions that ended may well be nothing.
    assert all(figure.value > 0 for figure in figures if figure.question != bench_sessions.MEMORY)


def test_ratios_are_to_the_official_sdk_and_to_the_floor_of_the_same_question() -> None:
    figures = [
        Figure("q", "ours", 300.0, "calls/s", wanted(2, 0.5)),
        Figure("q", "ours, other", 300.0, "calls/s", floor="other (floor)"),
        Figure("q", "bare (floor)", 600.0, "calls/s"),
        Figure("q", "other (floor)", 400.0, "calls/s"),
        Figure("q", "mcp 2.3.0", 100.0, "calls/s"),
        Figure("p", "bare (floor)", 1.0, "calls/s"),
    ]
    shown = program.show(figures).splitlines()
    assert shown[3].split()[:5] == ["ours", "300.0", "calls/s", "3.00x", "0.50x"]
    assert shown[4].split()[-2:] == ["3.00x", "0.75x"]


def test_an_unknown_question_is_refused_with_those_that_are_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks", "weather"])
    with pytest.raises(SystemExit):
        program.main()
    said = capsys.readouterr().err
    assert "unknown question weather" in said
    assert all(question in said for question in program.QUESTIONS)


def test_the_load_accepts_no_answer_but_the_one_that_was_asked_for() -> None:
    with WebServer(peer("bare_http.py")) as server:
        with Load(server.port, 2) as load, pytest.raises(RuntimeError, match="answered with"):
            load.run(Requests(server.port).make(4), b"goodbye")
        (request, _), *_ = Requests(server.port).make(1)
        with Load(server.port, 1) as load, pytest.raises(RuntimeError, match="answered with"):
            load.run([(request, b'"id":7')], b"hello")
        with Wire(server.port) as wire, pytest.raises(RuntimeError, match="405"):
            wire.ask(request.replace(b"POST", b"GET", 1))


def test_a_server_that_does_not_start_says_why() -> None:
    with pytest.raises(RuntimeError, match="KeyError"):
        WebServer(peer("bare_http.py", "--codec=none"))
