"""What comes between a command and its answer: no answer is taken for another's."""

from __future__ import annotations

import signal
from typing import Any

import pytest
import redis
from redis_clients import make_client

from stores.servers_for_stores import VolatileRedisServer


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
