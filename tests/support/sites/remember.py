"""A site whose clock a test moves, for remember tokens: lost responses, signals, and stores that fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flask_cloakroom import StoreError, remember_token_repeated, remember_token_reused

from .login import Browser, Site, User

#: The verbs of a store that a request calls.
VERBS = ("load", "create", "replace", "touch", "delete", "claim", "release", "owned")


class Clock:
    """The time of a site on the memory store. It stands still until a test moves it."""

    def __init__(self, site: Site) -> None:
        self._now = time.time()
        repository = repository_of(site)
        repository.clock = repository.store.clock = lambda: self._now

    def move(self, seconds: float) -> None:
        self._now += seconds


def repository_of(site: Site) -> Any:
    return site.app.session_interface.repository  # type: ignore[attr-defined]


def status_of(site: Site, browser: Browser) -> Any:
    """Return the status of the browser's remember token in its family, None without a family."""
    found = repository_of(site).families.find(browser.cookies["remember_token"])
    return None if found is None else found[1]


def sessions_of(site: Site, user: str) -> list[Any]:
    repository = repository_of(site)
    found: list[Any] = repository.owners.sessions(repository.tickets.owner_name(user))
    return found


def end_sessions(site: Site, user: str) -> None:
    """Let all sessions of a user expire. Their remembered logins stay."""
    repository = repository_of(site)
    for session in sessions_of(site, user):
        repository.store.delete(session.key)
        repository.index.release(session.header, session.key)


def remembered(site: Site, user: str = "alice", *, keep_session: bool = False) -> Browser:
    """Return a browser that has only the remember token of a user, whose session has expired."""
    site.users.setdefault(user, User(user))
    browser = site.browser(user, remember=True)
    if keep_session:
        return browser
    end_sessions(site, user)
    return browser.copy("remember_token")


def with_cart(browser: Browser) -> Browser:
    """Give the browser an anonymous session with something in its cart."""
    visitor = browser.site.browser()
    assert visitor.text("/cart/tea") == "ok"
    browser.client.set_cookie("session", visitor.cookies["session"])
    return browser


def lose(browser: Browser, path: str = "/who") -> tuple[str, Browser]:
    """Send a request whose response is lost. Return its text, and a browser that has got the response."""
    receiver = browser.copy()
    return receiver.text(path), receiver


@contextmanager
def heard() -> Iterator[list[tuple[str, str]]]:
    """Collect what is sent in the ``with`` block: pairs of "repeated" or "reused" and a user's id."""
    found: list[tuple[str, str]] = []

    def hear_repeated(sender: Any, user_id: str, handle: str) -> None:
        assert handle
        found.append(("repeated", user_id))

    def hear_reused(sender: Any, user_id: str, handle: str) -> None:
        assert handle
        found.append(("reused", user_id))

    with remember_token_repeated.connected_to(hear_repeated), remember_token_reused.connected_to(hear_reused):
        yield found


class FailingStore:
    """Stands before a site's store until :meth:`restore`. ``fails(number)`` says whether a command fails, from 1 on.

    ``is_done``: a command that fails has been done, and only its answer was lost.
    """

    def __init__(self, site: Site, fails: Callable[[int], bool], *, is_done: bool = False) -> None:
        self._repository = repository_of(site)
        self._store = self._repository.store
        self._fails, self._is_done = fails, is_done
        self.commands: list[str] = []
        self._repository.store = self

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in VERBS:
            return method

        def call(*arguments: Any) -> Any:
            self.commands.append(name)
            is_failing = self._fails(len(self.commands))
            result = None if is_failing and not self._is_done else method(*arguments)
            if is_failing:
                raise StoreError("the test lets this command fail")
            return result

        return call

    def restore(self) -> list[str]:
        """Put the store back, and return the commands that were called."""
        self._repository.store = self._store
        return self.commands
