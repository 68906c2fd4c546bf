"""Answers of Redis that are wrong, lost or late, and what RedisStore does with them."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest
from redis.backoff import NoBackoff
from redis.retry import Retry

from flask_cloakroom.errors import StoreError
from flask_cloakroom.stores import Conflict, Entry, Gone, Saved
from flask_cloakroom.stores.redis.store import RedisStore
from support.servers.special import CutAnswers, Proxy, VolatileRedisServer, admin
from support.stores.backends import ClientOfOurOwn, prefix
from support.stores.redis_tools import REQUEST_VERBS, TIMEOUT, VERBS, open_connections

# -- what is no Redis -------------------------------------------------------------------------------------

NONSENSE = {
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a number that is none": b":abc\r\n",
    "a length that is none": b"$abc\r\nxx\r\n",
    "an array": b"*1\r\n$1\r\nx\r\n",
    "two answers": b":1\r\n:1\r\n",
    "two answers that say nothing": b"$-1\r\n$-1\r\n",
    "an empty line": b"\r\n",
    "binary": bytes(range(256)) + b"\r\n",
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE.keys())
def test_answers_that_are_none(through_proxy: RedisStore, proxy: Proxy, nonsense: bytes) -> None:
    """StoreError and no other error, never an entry; the connection is not used again, and the next call works."""
    assert through_proxy.create(b"k", b"data", 60) is not None
    for verb in REQUEST_VERBS:
        for fresh in (False, True):
            if fresh:
                through_proxy._transport.close()
                open_connections(through_proxy, 1)
            proxy.on_answer = lambda number, answer: nonsense
            with pytest.raises(StoreError):
                VERBS[verb](through_proxy)
            proxy.on_answer = lambda number, answer: answer
            assert through_proxy.load(b"nothing") is None


def test_answers_in_small_pieces(through_proxy: RedisStore, proxy: Proxy) -> None:
    """An answer is put together however the network cuts it."""
    data = os.urandom(300)

    class Pieces:
        """Hands on a byte at a time."""

        def __call__(self, number: int, answer: bytes) -> bytes:
            for end in range(len(answer) - 1):
                client_side(proxy, number).sendall(answer[end : end + 1])
            return answer[-1:]

    version = through_proxy.create(b"k", data, 60)
    assert version is not None
    proxy.on_answer = Pieces()
    assert through_proxy.load(b"k") == Entry(data, version)
    assert through_proxy.load(b"nothing") is None
    assert through_proxy.touch(b"k", 60) is True
    assert isinstance(through_proxy.replace(b"k", data, 60, version), Saved)


def client_side(proxy: Proxy, number: int) -> socket.socket:
    return proxy._sockets[1 + 2 * number]


# -- lost answers -----------------------------------------------------------------------------------------


def writes(server: VolatileRedisServer) -> int:
    """Return how many changes the server has made since it started."""
    with admin(server) as client:
        return int(client.info("persistence")["rdb_changes_since_last_save"])


def test_a_create_whose_answer_was_lost(
    through_proxy: RedisStore, proxy: Proxy, own_server: VolatileRedisServer
) -> None:
    """The second try finds the first one's entry and knows it for its own: one entry, written once."""
    before = writes(own_server)
    proxy.on_answer = CutAnswers()
    version = through_proxy.create(b"k", b"data", 60)
    assert version is not None
    assert through_proxy.load(b"k") == Entry(b"data", version)
    assert writes(own_server) - before == 1
    assert sum(sent.count(b"\r\nSET\r\n") for sent in proxy.sent) == 2, "it was not tried twice"


def test_a_replace_whose_answer_was_lost(
    through_proxy: RedisStore, proxy: Proxy, own_server: VolatileRedisServer
) -> None:
    """The second try meets the first one's write and knows it for its own: Saved, written once."""
    version = through_proxy.create(b"k", b"data", 60)
    assert version is not None
    assert isinstance(through_proxy.replace(b"other", b"x", 60, version), Gone), "the script is known from here on"
    before = writes(own_server)
    proxy.on_answer = CutAnswers()
    saved = through_proxy.replace(b"k", b"new", 60, version)
    assert isinstance(saved, Saved)
    assert through_proxy.load(b"k") == Entry(b"new", saved.version)
    assert writes(own_server) - before == 1
    assert sum(sent.count(b"\r\nEVALSHA\r\n") for sent in proxy.sent) == 3, "it was not tried twice"


def test_a_replace_whose_answer_was_lost_with_a_server_that_forgot_the_script(
    through_proxy: RedisStore, proxy: Proxy, own_server: VolatileRedisServer
) -> None:
    """The same where it goes on with the whole script."""
    version = through_proxy.create(b"k", b"data", 60)
    assert version is not None
    before = writes(own_server)

    def cut_the_script(number: int, answer: bytes) -> bytes | None:
        if b"\r\nEVAL\r\n" in proxy.sent[number]:
            proxy.on_answer = lambda number, answer: answer
            return None
        return answer

    proxy.on_answer = cut_the_script
    saved = through_proxy.replace(b"k", b"new", 60, version)
    assert isinstance(saved, Saved)
    assert through_proxy.load(b"k") == Entry(b"new", saved.version)
    assert writes(own_server) - before == 1


def test_a_refused_replace_whose_answer_was_lost(through_proxy: RedisStore, proxy: Proxy) -> None:
    """A conflict stays a conflict, and nothing that is gone comes back."""
    version = through_proxy.create(b"k", b"data", 60)
    assert version is not None
    proxy.on_answer = CutAnswers()
    assert through_proxy.replace(b"k", b"new", 60, b"12345678") == Conflict(Entry(b"data", version))
    proxy.on_answer = CutAnswers()
    assert through_proxy.replace(b"gone", b"new", 60, version) == Gone()
    assert through_proxy.load(b"gone") is None


def test_a_refused_create_whose_answer_was_lost(through_proxy: RedisStore, proxy: Proxy) -> None:
    """What somebody else created is not taken for one's own."""
    version = through_proxy.create(b"k", b"data", 60)
    assert version is not None
    proxy.on_answer = CutAnswers()
    assert through_proxy.create(b"k", b"mine", 60) is None
    assert through_proxy.load(b"k") == Entry(b"data", version)


def test_a_delete_whose_answer_was_lost(through_proxy: RedisStore, proxy: Proxy) -> None:
    """It is gone. Who deleted it is not known any more, so the answer may be either."""
    through_proxy.create(b"k", b"data", 60)
    proxy.on_answer = CutAnswers()
    through_proxy.delete(b"k")
    assert through_proxy.load(b"k") is None


@pytest.mark.parametrize("verb", REQUEST_VERBS)
def test_two_lost_answers(through_proxy: RedisStore, proxy: Proxy, verb: str) -> None:
    """A StoreError, because what happened is not known; it is not tried a third time."""
    through_proxy.replace(b"other", b"x", 60, b"12345678")
    cut = CutAnswers(1000)

    def cut_commands(number: int, answer: bytes) -> bytes | None:
        sent = bytes(proxy.sent[number])
        # The greeting of a new connection gets its answers.
        return cut(number, answer) if any(word in sent for word in COMMANDS) else answer

    proxy.on_answer = cut_commands
    with pytest.raises(StoreError):
        VERBS[verb](through_proxy)
    assert 1000 - cut.left == 2
    proxy.on_answer = lambda number, answer: answer
    assert through_proxy.load(b"nothing") is None


COMMANDS = [b"\r\n%b\r\n" % name for name in (b"GET", b"SET", b"EVALSHA", b"EVAL", b"EXPIRE", b"DEL")]


def test_a_lost_answer_through_a_client_of_ones_own(proxy: Proxy, own_server: VolatileRedisServer) -> None:
    """The driver tries again by itself, and its second try too is known for one's own."""
    with ClientOfOurOwn(port=proxy.port, retry=Retry(NoBackoff(), 1)) as client:
        store = RedisStore(client, prefix=prefix(), timeout=TIMEOUT)
        store.load(b"nothing")
        before = writes(own_server)
        proxy.on_answer = CutAnswers()
        version = store.create(b"k", b"data", 60)
        assert version is not None
        proxy.on_answer = CutAnswers()
        saved = store.replace(b"k", b"new", 60, version)
        assert isinstance(saved, Saved)
        assert store.load(b"k") == Entry(b"new", saved.version)
        assert writes(own_server) - before == 2
        store.close()


# -- interruptions ----------------------------------------------------------------------------------------


class Interrupted(BaseException):
    """As KeyboardInterrupt, SystemExit or gevent's Timeout: no Exception."""


class InterruptedSocket:
    """In the place of a connection's socket: the command goes out, and the wait for the answer is interrupted."""

    def __init__(self, behind: socket.socket, moment: str) -> None:
        self._behind = behind
        self._moment = moment

    def sendall(self, data: bytes) -> None:
        if self._moment == "in the middle of the command":
            self._behind.sendall(data[: len(data) // 2])
            raise Interrupted
        self._behind.sendall(data)

    def recv(self, size: int) -> bytes:
        if self._moment == "before the answer":
            raise Interrupted
        if self._moment == "in the middle of the answer":
            self._moment = "before the answer"
            return self._behind.recv(2)
        raise AssertionError


@pytest.mark.parametrize("verb", REQUEST_VERBS)
@pytest.mark.parametrize("moment", ["in the middle of the command", "before the answer", "in the middle of the answer"])
def test_an_interruption_crosses_no_replies(through_proxy: RedisStore, verb: str, moment: str) -> None:
    """The answer that nobody waited for is nobody's: the next call gets its own, on another connection."""
    other = through_proxy.create(b"other", b"data of other", 60)
    through_proxy.create(b"k", b"data of k", 60)
    wire: Any = through_proxy._transport._idle[-1]  # type: ignore[attr-defined]
    wire._socket = InterruptedSocket(wire._socket, moment)
    with pytest.raises(Interrupted):
        VERBS[verb](through_proxy)
    assert wire not in through_proxy._transport._idle  # type: ignore[attr-defined]
    for _ in range(3):
        assert through_proxy.load(b"other") == Entry(b"data of other", other or b"")
        assert through_proxy.load(b"nothing") is None
        assert through_proxy.touch(b"nothing", 60) is False


# Python says that it dropped a connection which was interrupted while it was being opened.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interruptions_at_any_moment(shared_server: VolatileRedisServer) -> None:
    """Wherever a signal strikes, each read that is answered is answered with the value of its own key."""
    signal = pytest.importorskip("signal")
    store = RedisStore(shared_server.url, prefix=prefix(), timeout=5.0)
    entries = {}
    for number in range(10):
        key = b"key %d" % number
        version = store.create(key, b"data of %d " % number * (number * 100 + 1), 60)
        assert version is not None
        entries[key] = Entry(b"data of %d " % number * (number * 100 + 1), version)
    interrupted = 0

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for turn in range(600):
            key = b"key %d" % (turn % 10)
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.00002 + 0.0000005 * turn)
                found = store.load(key)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupted:
                interrupted += 1
            else:
                assert found == entries[key]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 10
    store.close()
