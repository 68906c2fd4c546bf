"""Visitors who change their sessions without a pause, and what each of them was told."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple

from flask import Flask, session

from flask_cloakroom import Session
from support.servers.groups import FAILOVER_TIMEOUT, NOT_NOW, ServerGroup, wait_until
from support.sites.requests_on_app import send, ticket_of

#: Seconds between two requests of a visitor, so that two processors are left to the servers too.
PAUSE = 0.005
#: Marks that are safe before something happens, and requests that are served after it, at least.
ENOUGH = 20
#: Seconds that a loaded machine may add to a bound.
MARGIN = 2.0
#: Seconds in which a request is answered whatever happens: it asks the store twice, and each time connecting and
#: waiting for the answer have half of SESSION_STORE_TIMEOUT each.
LONGEST = 2 * 2.0


def make_app(url: str, **settings: Any) -> Flask:
    """Return an application whose visitors collect marks in their sessions."""
    app = Flask("shop")
    app.config.update(REDIS_URL=url, SESSION_KEY_PREFIX=f"{uuid.uuid4().hex}:")
    app.config.update(settings)
    Session(app)
    app.add_url_rule("/begin", "begin", lambda: str(session.update(marks={})))
    app.add_url_rule("/marks", "marks", lambda: list(session["marks"]))

    @app.route("/mark/<mark>")
    def mark(mark: str) -> list[str]:
        """Add a mark; return those that were there. Without its session, this is an error 500."""
        before = list(session["marks"])
        session["marks"][mark] = True
        return before

    return app


class Visitor:
    """A session, and what is known of its marks."""

    def __init__(self, app: Flask) -> None:
        ticket = ticket_of(send(app, "/begin"))
        assert ticket
        self.ticket = ticket
        repository: Any = app.session_interface.repository  # type: ignore[attr-defined]
        #: The name of the session's entry in Redis.
        self.name: bytes = repository.store._key(repository.tickets.fingerprint(ticket))
        #: A key in the same slot of a cluster.
        self.marker = self.name + b":after" if b"{" in self.name else b"after:{" + self.name + b"}"
        #: Marks whose requests were answered by 200, and which must be there from then on, whatever happens.
        self.safe: set[str] = set()
        self.asked: set[str] = set()


class Answer(NamedTuple):
    """One response."""

    status: int
    began: float
    ended: float


class Load:
    """Threads with a session each, and one that they share. It runs inside of its ``with``.

    A mark is safe if its 200 came and, in a ``group``, all replicas of the session's master have it then: Redis itself
    promises no more. That the master is the same before and after makes sure that this one was asked.
    """

    def __init__(
        self,
        app: Flask,
        group: ServerGroup | None = None,
        where: Callable[[bytes], int] | None = None,
        threads: int = 3,
    ) -> None:
        """``where`` returns the port of the master that has an entry of this name."""
        self._app = app
        self._group = group
        self._where = where
        #: The visitor that all threads are, now and then.
        self.shared = Visitor(app)
        self._own = [Visitor(app) for _ in range(threads)]
        #: By thread; the last one's only reads.
        self.answers: list[list[Answer]] = [[] for _ in range(threads + 1)]
        #: What must not be: statuses other than 200 and 503, and exceptions.
        self.wrong: list[str] = []
        #: Answers that did not know of marks which were safe before the request was sent.
        self.stale: list[str] = []
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(threads)]
        self._threads.append(threading.Thread(target=self._read))
        if group is not None:
            wait_until(lambda: all(map(self._is_safe_now, self._visitors)), "the sessions are replicated")

    @property
    def _visitors(self) -> list[Visitor]:
        return [*self._own, self.shared]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _work(self, thread: int) -> None:
        number = 0
        while not self._ending.is_set():
            visitor = self.shared if number % 3 == 0 else self._own[thread]
            try:
                self._request(visitor, thread, f"{thread}-{number}")
            except Exception as error:
                self.wrong.append(f"{thread}-{number}: {error!r}")
            number += 1
            time.sleep(PAUSE)

    def _read(self) -> None:
        while not self._ending.is_set():
            for visitor in self._visitors:
                try:
                    self._send(visitor, -1, "/marks")
                except Exception as error:
                    self.wrong.append(f"reading: {error!r}")
                time.sleep(PAUSE)

    def _request(self, visitor: Visitor, thread: int, mark: str) -> None:
        visitor.asked.add(mark)
        master = self._master(visitor)
        if not self._send(visitor, thread, f"/mark/{mark}"):
            return
        if self._group is None or (master is not None and self._is_safe_now(visitor, master)):
            visitor.safe.add(mark)

    def _send(self, visitor: Visitor, thread: int, path: str) -> bool:
        """Send a request, note the answer, and return whether it was a 200."""
        safe = visitor.safe.copy()
        began = time.monotonic()
        response = send(self._app, path, visitor.ticket)
        self.answers[thread].append(Answer(response.status_code, began, time.monotonic()))
        if response.status_code == 200:
            missing = safe - set(response.json)
            if missing:
                self.stale.append(f"{path} at {began:.2f}: {len(missing)} missing, such as {min(missing)}")
            return True
        if response.status_code != 503 or "Retry-After" not in response.headers:
            self.wrong.append(f"{path}: {response.status}")
        return False

    def _master(self, visitor: Visitor) -> int | None:
        if self._where is None:
            return None
        try:
            return self._where(visitor.name)
        except NOT_NOW:
            return None

    def _is_safe_now(self, visitor: Visitor, master: int | None = None) -> bool:
        assert self._group is not None
        port = master or self._master(visitor)
        if port is None or not self._group.is_replicated(port, visitor.marker):
            return False
        return self._master(visitor) == port

    # -- what a test asks ---------------------------------------------------------------------------------

    def wait_for_service(self, timeout: float = 30.0) -> float:
        """Wait until each visitor has got a 200 to a request sent from now on; return after how many seconds."""
        now = time.monotonic()
        return wait_until(
            lambda: all(any(each.status == 200 and each.began > now for each in list(told)) for told in self.answers),
            "every visitor is served again",
            timeout,
        )

    def count(self, status: int, since: float = 0.0, until: float = float("inf")) -> int:
        """Return how many such responses there were to requests that were sent in this time."""
        return sum(each.status == status and since <= each.began < until for told in self.answers for each in told)

    @property
    def longest(self) -> float:
        """Seconds that the slowest response took."""
        return max(each.ended - each.began for told in self.answers for each in told)

    @property
    def safe(self) -> int:
        """How many marks are safe."""
        return sum(len(visitor.safe) for visitor in self._visitors)

    def assert_nothing_stale(self) -> None:
        """No answer was made from old data, and none was anything but 200 or 503."""
        assert not self.wrong, self.wrong[:5]
        assert not self.stale, self.stale[:5]

    def assert_nothing_lost(self) -> None:
        """And every mark that was safe is there, and none that nobody sent."""
        self.assert_nothing_stale()
        for visitor in self._visitors:
            stored = set(send(self._app, "/marks", visitor.ticket).json)
            assert visitor.safe - stored == set()
            assert stored <= visitor.asked

    def __str__(self) -> str:
        return (
            f"{self.count(200)} × 200, {self.count(503)} × 503, {self.safe} marks safe, slowest {self.longest:.2f} s, "
            f"{len(self.stale)} stale, {len(self.wrong)} wrong"
        )


class Outage:
    """What a load goes through from now on."""

    def __init__(self, load: Load) -> None:
        """Wait until the load has done enough for something to be lost."""
        wait_until(lambda: load.safe > ENOUGH, "some marks are safe")
        self._load = load
        self._safe = load.safe
        self._began = time.monotonic()
        self._back = 0.0

    def wait_for_end(self) -> None:
        """Wait until every visitor is served again."""
        self._load.wait_for_service(FAILOVER_TIMEOUT)
        self._back = time.monotonic()

    def check(self, *, longest: float = LONGEST, is_seen: bool = True) -> str:
        """Check that visitors saw nothing of it but 503, until it was over, and that the load goes on; tell of it.

        ``longest``: seconds that a response may take. ``is_seen``: whether there must be any 503.
        """
        load = self._load
        assert self._safe > ENOUGH
        wait_until(lambda: load.count(200, self._back) > ENOUGH, "the load goes on")
        assert load.count(503, self._began, self._back) >= is_seen
        assert load.count(503, self._back) == 0
        assert load.longest < longest + MARGIN
        load.assert_nothing_stale()
        return f"{self._back - self._began:.2f} s with {load.count(503, self._began)} × 503; {load}"
