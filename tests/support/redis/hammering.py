"""What the processes of the hammer test do: threads on one instance, which check every answer."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from flask import Flask, session

from flask_cloakroom import FlaskRedis, Session

THREADS = 16


class Hammer:
    """One application with its client and its sessions, and threads on both."""

    def __init__(self, url: str, limit: int) -> None:
        self.app = Flask("hammered")
        self.app.config.update(REDIS_URL=url, SECRET_KEY="x", TESTING=True, SESSION_STORE_TIMEOUT=20)
        self.client = FlaskRedis(self.app, max_connections=limit, timeout=20)
        self.text = FlaskRedis(self.app, config_prefix="REDIS", decode_responses=True, timeout=20)
        Session(self.app)
        self.app.add_url_rule("/<mark>", "page", self._page)
        self.answers = 0
        self.errors: list[str] = []
        self._over = threading.Event()

    def _page(self, mark: str) -> str:
        turn = session["turn"] = session.get("turn", 0) + 1
        session["mark"] = mark
        return f"{mark} {turn}"

    def run_for(self, seconds: float) -> None:
        """Hammer in so many threads; return when they are done."""
        threads = self.start()
        time.sleep(seconds)
        self.stop(threads)

    def start(self) -> list[threading.Thread]:
        """Let the threads begin."""
        self._over.clear()
        threads = [threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        return threads

    def stop(self, threads: list[threading.Thread]) -> None:
        """Let them end. One that does not is an error."""
        self._over.set()
        for thread in threads:
            thread.join(60)
            if thread.is_alive():
                self.errors.append("a thread hangs")

    def _work(self, number: int) -> None:
        me = f"{os.getpid()}-{number}"
        browser = self.app.test_client()
        kinds: list[Callable[[str, int], int]] = [self._single, self._pipeline, self._transaction, self._text]
        turn = pages = 0
        try:
            while not self._over.is_set():
                turn += 1
                self.answers += kinds[turn % len(kinds)](me, turn)
                if turn % 5 == number % 5:
                    pages += 1
                    page = browser.get(f"/{me}").text
                    assert page == f"{me} {pages}", (page, me, pages)
                    self.answers += 1
        except BaseException:
            self.errors.append(traceback.format_exc())

    def _single(self, me: str, turn: int) -> int:
        value = f"{me}:{turn}".encode() * (1 + turn % 50)
        self.client.set(me, value)
        found: Any = self.client.get(me)
        assert found == value, (found[:80], value[:80])
        return 2

    def _pipeline(self, me: str, turn: int) -> int:
        with self.client.pipeline(transaction=turn % 8 < 4) as pipeline:
            for step in range(5):
                pipeline.set(f"{me}.{step}", f"{me}:{turn}:{step}")
                pipeline.get(f"{me}.{step}")
            found = pipeline.execute()
        assert found == [each for step in range(5) for each in (True, f"{me}:{turn}:{step}".encode())], found
        return 10

    def _transaction(self, me: str, turn: int) -> int:
        with self.app.app_context():
            self.client.multi()
            self.client.set(me, turn)
            self.client.incr(me)
            found = self.client.exec()
        assert found == [True, turn + 1], found
        return 2

    def _text(self, me: str, turn: int) -> int:
        self.text.hset(f"{me}.hash", me, f"ä{turn}")
        found: Any = self.text.hgetall(f"{me}.hash")
        assert found == {me: f"ä{turn}"}, found
        return 2
