"""An exception between a command and its answer: no later command gets that answer."""

from __future__ import annotations

import signal
from typing import Any

import pytest
import redis

from support.redis.clients import make_client
from support.servers.special import Proxy, VolatileRedisServer


def held(client: Any) -> int:
    """Return how many connections of a pool somebody has."""
    return len(client.connection_pool._in_use_connections)


class Stop(BaseException):
    """Like KeyboardInterrupt, SystemExit, or the end of a greenlet."""


class TooLate(Exception):
    """Raised by a signal's handler, as soft time limits of task queues are."""


class TestInterruptions:
    """Between a command and its answer."""

    @pytest.mark.parametrize("error", [KeyboardInterrupt, Stop, TooLate])
    def test_no_answer_is_crossed(
        self, own_server: VolatileRedisServer, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
    ) -> None:
        """The connection is not used again, as an answer is on its way that nobody waits for."""
        client = make_client(own_server.url, max_connections=1)
        client.mset({"a": "A", "b": "B"})
        for _ in range(20):
            with monkeypatch.context() as patch:

                def interrupted(*args: Any, **options: Any) -> Any:
                    raise error

                patch.setattr(redis.Redis, "parse_response", interrupted)
                with pytest.raises(error):
                    client.get("a")
            assert client.get("b") == b"B"
            assert held(client) == 0

    @pytest.mark.filterwarnings(
        "ignore::pytest.PytestUnraisableExceptionWarning"
    )  # a socket that the driver had just made
    def test_by_a_signal(self, own_server: VolatileRedisServer) -> None:
        """Of a timer, again and again, at any moment: answers stay with their questions."""
        client = make_client(own_server.url)
        client.mset({f"signal{number}": number for number in range(5)})

        def late(*args: object) -> None:
            raise TooLate

        before = signal.signal(signal.SIGALRM, late)
        interrupted = asked = 0
        try:
            while interrupted < 60:
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.0005 + 0.00001 * interrupted)
                    for _ in range(500):  # no end if the error came where nobody can raise it: in a __del__
                        asked += 1
                        assert client.get(f"signal{asked % 5}") == str(asked % 5).encode()
                except TooLate:
                    interrupted += 1
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
        finally:
            signal.signal(signal.SIGALRM, before)
        assert client.ping()

    def test_errors_of_others(self, own_server: VolatileRedisServer) -> None:
        """A call from within somebody's ``except`` block, or one that the server refuses, keeps its connection."""
        client = make_client(own_server.url)
        mine = client.client_id()
        for _ in range(3):
            try:
                raise KeyError("not in the cache")
            except KeyError:
                client.set("errors", "x")
            with pytest.raises(redis.ResponseError):
                client.incr("errors")
        assert client.client_id() == mine


class TestStrayAnswers:
    """Answers that come although nobody waits for them."""

    def test_while_a_connection_lies_idle(self, own_server: VolatileRedisServer) -> None:
        """The connection is replaced, and every command gets its own answer."""
        client = make_client(own_server.url, max_connections=1)
        pool: Any = client.connection_pool
        client.mset({"a": "A", "b": "B"})
        for _ in range(3):
            mine = client.client_id()
            idle = pool._available_connections[-1]
            idle._sock.sendall(b"GET b\r\n")
            while not idle.can_read():
                pass
            assert client.get("a") == b"A"
            assert client.get("b") == b"B"
            assert client.client_id() != mine
            assert pool.limit.open_count == 1

    def test_at_the_beginning_of_a_connection(self, own_server: VolatileRedisServer) -> None:
        """More answers than greetings are an error (the driver's, of any class), and no answer to the first command."""
        proxy = Proxy(own_server.port)
        client = make_client(proxy.url + "?timeout=0", retry=None)
        proxy.on_answer = lambda number, answer: answer + b"$1\r\nX\r\n"
        for _ in range(3):
            with pytest.raises((redis.RedisError, AttributeError)):
                client.get("a")
        proxy.on_answer = lambda number, answer: answer
        assert client.get("a") is None
        assert held(client) == 0
        proxy.close()
