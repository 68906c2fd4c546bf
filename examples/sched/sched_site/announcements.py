"""Messages of one Redis channel, passed on to all listeners in this process."""

from __future__ import annotations

import os
import threading
import time
import weakref
from queue import SimpleQueue

from flask import Flask
from redis.exceptions import RedisError

from .redis_client import redis

#: Seconds between two checks whether there are still listeners.
POLL_SECONDS = 1.0
#: Seconds before a new connection after Redis went down.
RECONNECT_SECONDS = 1.0

#: The queue of one listener. None in the queue is the end of all messages.
Inbox = SimpleQueue[str | None]


class Announcements:
    """One thread and one connection for all listeners; neither exists while there are no listeners."""

    def __init__(self, app: Flask, channel: str, max_listeners: int) -> None:
        """Allow ``max_listeners`` listeners at the same time. The first listener opens the connection."""
        self._app = app
        self._channel = channel
        self._max_listeners = max_listeners
        self.reset()
        _after_fork(self)

    def reset(self) -> None:
        """Forget the thread and all listeners. A forked child has no threads, and its lock may be a locked copy."""
        self._lock = threading.Lock()
        self._inboxes: set[Inbox] = set()
        self._subscribed = threading.Event()
        self._thread: threading.Thread | None = None

    def subscribe(self) -> Inbox | None:
        """Add a listener and return its queue; None if there are too many. Call :meth:`unsubscribe` at the end."""
        with self._lock:
            if len(self._inboxes) >= self._max_listeners:
                return None
            inbox: Inbox = SimpleQueue()
            self._inboxes.add(inbox)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="sched-announcements", daemon=True)
                self._thread.start()
            return inbox

    def unsubscribe(self, inbox: Inbox) -> None:
        """Remove a listener. After the last one the thread ends within POLL_SECONDS."""
        with self._lock:
            self._inboxes.discard(inbox)

    def wait_until_listening(self, timeout: float) -> bool:
        """Wait until the channel is subscribed. Return False if that takes more than ``timeout`` seconds.

        Every message that is published after that reaches the listeners.
        """
        return self._subscribed.wait(timeout)

    def end(self) -> None:
        """Tell all listeners that there are no more messages. It takes no lock, so a signal handler may call it."""
        for inbox in tuple(self._inboxes):
            inbox.put(None)

    def _run(self) -> None:
        while True:
            try:
                return self._listen()
            except RedisError:  # which Flask-Cloakroom has logged
                self._subscribed.clear()
                time.sleep(RECONNECT_SECONDS)
                if not self._has_listeners():
                    return None

    def _listen(self) -> None:
        with self._app.app_context():
            pubsub = redis.pubsub()  # type: ignore[no-untyped-call]
        with pubsub:
            pubsub.subscribe(self._channel)
            while self._has_listeners():
                message = pubsub.get_message(timeout=POLL_SECONDS)
                if message is None:
                    continue
                if message["type"] == "subscribe":
                    self._subscribed.set()
                elif message["type"] == "message":
                    for inbox in tuple(self._inboxes):
                        inbox.put(message["data"])

    def _has_listeners(self) -> bool:
        with self._lock:
            if self._inboxes:
                return True
            # Under the lock: the next listener must find no thread, and start a new one.
            self._subscribed.clear()
            self._thread = None
            return False


def _after_fork(announcements: Announcements) -> None:
    reference = weakref.ref(announcements)

    def reset() -> None:
        alive = reference()
        if alive is not None:
            alive.reset()

    os.register_at_fork(after_in_child=reset)
