"""16 threads in each of 4 forked processes use one instance with far fewer connections than threads."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_cloakroom.testing.parallel import run_in_child
from support.redis.clients import Observer, Outside, limit_of, sockets_of
from support.redis.hammering import THREADS, Hammer
from support.servers.special import VolatileRedisServer

BOUND = 6
PROCESSES = 4

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system has no /proc to count sockets in"),
]


@pytest.fixture
def children() -> Iterator[list[int]]:
    """Return a list for process ids, whose processes are killed if they are still there at the end."""
    children: list[int] = []
    yield children
    for child in children:
        try:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def work_of_child(hammer: Hammer, seconds: float, report: int) -> None:
    """Tell which sockets are the parent's, hammer, and tell how many answers were right; fail with what went wrong."""
    os.write(report, f"{os.getpid()} {' '.join(sockets_of(os.getpid()))}\n".encode())
    hammer.answers = 0
    hammer.errors = []
    hammer.run_for(seconds)
    limit = limit_of(hammer.client)
    if hammer.errors:
        print(hammer.errors[0], file=sys.__stderr__)
        os._exit(3)
    assert 0 < limit.open_count <= limit.maximum == BOUND, (limit.open_count, limit.maximum)
    assert not limit.waiters
    os.write(report, b"%d\n" % hammer.answers)


def hammer_for(seconds: float, server: VolatileRedisServer, outside: Outside, children: list[int]) -> None:
    """Fork while the parent's own threads are in the middle of calls, hammer everywhere, and count all the time."""
    hammer = Hammer(server.url, BOUND)
    threads = hammer.start()
    reading, writing = os.pipe()
    for _ in range(PROCESSES):
        time.sleep(0.05)  # in the middle of whatever they do by then
        children.append(run_in_child(lambda: work_of_child(hammer, seconds, writing)))
    os.close(writing)
    hammer.stop(threads)  # the processor is the children's now
    reports = os.fdopen(reading)
    inherited = {int(pid): set(sockets) for pid, *sockets in (reports.readline().split() for _ in children)}
    with Observer(inherited, BOUND) as observer:
        codes = [os.waitpid(child, 0)[1] for child in children]
    assert hammer.errors == []
    assert codes == [0] * PROCESSES
    answers = [int(line) for line in reports]
    reports.close()
    print(f"{answers} answers, and {hammer.answers} of the parent; {observer.looks} looks: {observer.highest}")
    assert len(answers) == PROCESSES
    assert min(answers) > THREADS
    assert observer.looks > 3
    assert 0 < max(observer.highest.values()) <= BOUND
    outside.wait_for(limit_of(hammer.client).open_count)


def test_three_seconds(own_server: VolatileRedisServer, outside: Outside, children: list[int]) -> None:
    """No error, no crossed answer, no process with more connections than the bound, no hang after a fork."""
    hammer_for(3, own_server, outside, children)


@pytest.mark.soak
def test_ten_seconds(own_server: VolatileRedisServer, outside: Outside, children: list[int]) -> None:
    """The same for longer."""
    hammer_for(10, own_server, outside, children)


def test_forks_in_the_middle_of_calls(own_server: VolatileRedisServer) -> None:
    """Again and again: each child gets its own answers on its own connections at once, and the parent goes on."""
    hammer = Hammer(own_server.url, BOUND)
    threads = hammer.start()

    def ask() -> None:
        assert limit_of(hammer.client).open_count == 0
        hammer.client.set(f"child{os.getpid()}", os.getpid())
        assert hammer.client.get(f"child{os.getpid()}") == str(os.getpid()).encode()
        assert hammer.text.get(f"child{os.getpid()}") == str(os.getpid())
        assert hammer.app.test_client().get("/a").text == "a 1"

    try:
        for _ in range(20):
            child = run_in_child(ask)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        hammer.stop(threads)
    assert hammer.errors == []
    assert hammer.answers > THREADS
