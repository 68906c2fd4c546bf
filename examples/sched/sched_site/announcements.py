"""What comes in on one channel of Redis, handed to everybody in this process who listens."""

from __future__ import annotations

import os
import threading
import time
import weakref
from queue import SimpleQueue

from flask import Flask
from redis.exceptions import RedisError

from .redis_client import redis

#: Seconds between two looks whether anybody still listens.
LOOK = 1.0
#: Seconds before Redis is asked again after it went away.
PAUSE = 1.0

#: What a listener takes messages from; None is the last one.
Inbox = SimpleQueue[str | None]


class Announcements:
    """One thread and one connection for all who listen, and neither while nobody does."""

    def __init__(self, app: Flask, channel: str, most: int) -> None:
        """At most ``most`` can listen at one time. Nothing is connected before the first one does."""
        self._app = app
        self._channel = channel
        self._most = most
        self.start_anew()
        _after_fork(self)

    def start_anew(self) -> None:
        """Begin with no thread and no listener. A forked child has none, and its parent may have held the lock."""
        self._lock = threading.Lock()
        self._inboxes: set[Inbox] = set()
        self._subscribed = threading.Event()
        self._thread: threading.Thread | None = None

    def join(self) -> Inbox | None:
        """Begin to listen; None if too many do. Who joins must leave."""
        with self._lock:
            if len(self._inboxes) >= self._most:
                return None
            inbox: Inbox = SimpleQueue()
            self._inboxes.add(inbox)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="sched-announcements", daemon=True)
                self._thread.start()
            return inbox

    def leave(self, inbox: Inbox) -> None:
        """Listen no more. The thread notices within a second, if this was the last one."""
        with self._lock:
            self._inboxes.discard(inbox)

    def wait(self, timeout: float) -> bool:
        """Wait until Redis is listened to: from then on nothing is missed. False if that takes too long."""
        return self._subscribed.wait(timeout)

    def end(self) -> None:
        """Tell all who listen that nothing more will come. Takes no lock, so a signal handler may call it."""
        for inbox in tuple(self._inboxes):
            inbox.put(None)

    def _run(self) -> None:
        while True:
            try:
                return self._listen()
            except RedisError:  # the package has logged it
                self._subscribed.clear()
                time.sleep(PAUSE)
                if not self._is_wanted():
                    return None

    def _listen(self) -> None:
        with self._app.app_context():
            pubsub = redis.pubsub()  # type: ignore[no-untyped-call]
        with pubsub:
            pubsub.subscribe(self._channel)
            while self._is_wanted():
                message = pubsub.get_message(timeout=LOOK)
                if message is None:
                    continue
                if message["type"] == "subscribe":
                    self._subscribed.set()
                elif message["type"] == "message":
                    for inbox in tuple(self._inboxes):
                        inbox.put(message["data"])

    def _is_wanted(self) -> bool:
        with self._lock:
            if self._inboxes:
                return True
            # Under the lock: who joins from now on starts another thread, and waits for that one to listen.
            self._subscribed.clear()
            self._thread = None
            return False


def _after_fork(announcements: Announcements) -> None:
    reference = weakref.ref(announcements)

    def start_anew() -> None:
        alive = reference()
        if alive is not None:
            alive.start_anew()

    os.register_at_fork(after_in_child=start_anew)
