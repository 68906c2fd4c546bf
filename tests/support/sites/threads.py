"""A site whose pages run a test's code in threads of one request, and the ways in which sites start such threads."""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from flask import Flask, copy_current_request_context, flash, get_flashed_messages, session

from flask_cloakroom import Cloakroom, UserKind, UserMixin, current_user, generate_csrf, login_user, user_session
from flask_cloakroom.testing.parallel import run_in_threads
from support.clock import TEST_TIMEOUT

T = TypeVar("T")

Work = Callable[[int], Any]

#: Threads of one request. Each of 8 kinds of first use can then be beside each other kind.
THREADS = 8

#: Seconds in which a thread that has begun comes to the package.
MOMENT = 0.02


# -- the ways ---------------------------------------------------------------------------------------------------


@contextmanager
def _pool(count: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False)  # a thread that hangs must fail the test, and not hang it


def in_executor(count: int, work: Work) -> list[Any]:
    """Run ``work(0)`` to ``work(count - 1)`` in a thread pool, as Flask-Executor does."""
    with _pool(count) as pool:
        futures = [pool.submit(copy_current_request_context(work), number) for number in range(count)]
        return [future.result(TEST_TIMEOUT) for future in futures]


def in_plain_threads(count: int, work: Work) -> list[Any]:
    """Run them in threads that begin at the same moment, as Flask's documentation of copied contexts shows."""
    copies = [copy_current_request_context(work) for _ in range(count)]
    return run_in_threads(count, lambda number: copies[number](number))


async def in_to_thread(count: int, work: Work) -> list[Any]:
    """Run them by ``asyncio.to_thread()``: the threads have a copy of the context variables, and the same context."""
    with _pool(count) as pool:
        asyncio.get_running_loop().set_default_executor(pool)
        calls = [asyncio.to_thread(work, number) for number in range(count)]
        return await asyncio.wait_for(asyncio.gather(*calls), TEST_TIMEOUT)


async def in_sync_to_async(count: int, work: Work) -> list[Any]:
    """Run them by asgiref's ``sync_to_async()``, which copies changed context variables back."""
    with _pool(count) as pool:
        run = sync_to_async(work, thread_sensitive=False, executor=pool)
        return await asyncio.wait_for(asyncio.gather(*(run(number) for number in range(count))), TEST_TIMEOUT)


#: Each way, by its name as a parameter of tests.
WAYS: dict[str, Callable[[int, Work], Any]] = {
    "executor": in_executor,
    "threads": in_plain_threads,
    "to_thread": in_to_thread,
    "sync_to_async": in_sync_to_async,
}


def together(count: int, work: Work) -> Work:
    """Return ``work`` for threads that wait for each other before they begin."""
    barrier = threading.Barrier(count)

    def begin(number: int) -> Any:
        barrier.wait(TEST_TIMEOUT)
        return work(number)

    return begin


@contextmanager
def switching_often() -> Iterator[None]:
    """Let threads take turns a hundred times as often as usual, so that more orders of their steps happen."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(usual / 100)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


# -- forced orders ----------------------------------------------------------------------------------------------


class Gate:
    """A place in the code where the first thread stops until the test opens it. Later threads pass."""

    def __init__(self) -> None:
        self._first = threading.Lock()
        self.reached = threading.Event()
        self._opened = threading.Event()
        #: How many threads came by, the first one too.
        self.passes = 0

    def __call__(self, *_: Any) -> None:
        self.passes += 1
        if self._first.acquire(blocking=False):
            self.reached.set()
            assert self._opened.wait(TEST_TIMEOUT), "the test did not open the gate"

    def wait_for_first(self) -> None:
        """Return when a thread stands at the gate."""
        assert self.reached.wait(TEST_TIMEOUT), "no thread came to the gate"

    def open(self) -> None:
        """Let the thread go on."""
        self._opened.set()


class Running:
    """A thread of the current request, with its result or error."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self._begun = threading.Event()

        def begin() -> Any:
            self._begun.set()
            return work()

        self._work = copy_current_request_context(begin)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.value = self._work()
        except BaseException as error:
            self.error = error
        finally:
            self._begun.set()

    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def wait_until_inside(self) -> Running:
        """Return when the thread uses the package or is done: soon after it has begun its work.

        No test is wrong if the thread comes a little later. It then only meets another order of the steps.
        """
        assert self._begun.wait(TEST_TIMEOUT), "the thread does not begin"
        self._thread.join(MOMENT)
        return self

    def join(self) -> Running:
        """Wait until the thread is done."""
        self._thread.join(TEST_TIMEOUT)
        assert self.is_done(), "a thread of the request hangs"
        return self

    def result(self) -> Any:
        """Return the result of the thread, or raise its error."""
        self.join()
        if self.error is not None:
            raise self.error
        return self.value


# -- the site ---------------------------------------------------------------------------------------------------


class User(UserMixin):
    """A user."""

    def __init__(self, user_id: str) -> None:
        self.id = user_id


class Site:
    """An application with all parts and a second user kind, whose pages run what a test gives them."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.users = {name: User(name) for name in ("alice", "bob", "carol")}
        #: The ids that the loader was asked for.
        self.loads: list[str] = []
        #: What the loader does before it returns a user.
        self.while_loading: Callable[[], Any] = lambda: None
        self.room = Cloakroom(app)
        self.operators = UserKind("operator", app)
        self._works: dict[str, Callable[[], Any]] = {}
        self._names = itertools.count()
        self.room.user_loader(self.load)
        self.operators.user_loader(self.load)
        app.add_url_rule("/sync/<name>", "sync", lambda name: self._works.pop(name)())
        app.add_url_rule("/async/<name>", "async", self._async_view)
        app.add_url_rule("/post", "post", lambda: "passed", methods=["POST"])

    def load(self, user_id: str) -> User | None:
        """The user loader."""
        self.loads.append(user_id)
        self.while_loading()
        return self.users.get(user_id)

    async def _async_view(self, name: str) -> Any:
        return await self._works.pop(name)()

    def browser(self, user: str | None = None, *, remember: bool = False) -> Browser:
        """Return a new browser, in which ``user`` is logged in."""
        browser = Browser(self)
        if user is not None:
            assert browser.run(lambda: login_user(self.users[user], remember=remember))
        return browser

    def open(self, browser: Browser, view: Callable[[], Any], **options: Any) -> Any:
        """Let the browser open a page whose view is ``view``, which may be async, and return the response."""
        name = str(next(self._names))
        self._works[name] = view
        kind = "async" if asyncio.iscoroutinefunction(view) else "sync"
        return browser.client.get(f"/{kind}/{name}", **options)


class Browser:
    """Keeps cookies as a browser does."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.client = site.app.test_client()

    def open(self, view: Callable[[], Any], **options: Any) -> Any:
        """Open a page whose view is ``view``, which may be async, and return the response."""
        return self.site.open(self, view, **options)

    def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` in a request of this browser, and return its result. The page must not fail."""
        results: list[T] = []

        def view() -> str:
            results.append(work())
            return "done"

        response = self.open(view)
        assert response.status_code == 200, response.text
        return results[0]

    def run_in_threads(self, way: str, work: Work, count: int = THREADS) -> list[Any]:
        """Run ``work(0)`` to ``work(count - 1)`` at once in threads of one request, and return their results."""
        results: list[Any] = []
        start = WAYS[way]

        def view() -> str:
            results.extend(start(count, together(count, work)))
            return "done"

        async def async_view() -> str:
            results.extend(await start(count, together(count, work)))
            return "done"

        response = self.open(async_view if asyncio.iscoroutinefunction(start) else view)
        assert response.status_code == 200, response.text
        return results

    def accepts(self, token: str) -> bool:
        """Return whether a form with this CSRF token passes the protection."""
        return bool(self.client.post("/post", data={"csrf_token": token}).status_code == 200)

    @property
    def who(self) -> str | None:
        return self.run(lambda: current_user.get_id())

    def copy(self) -> Browser:
        """Return another browser with the cookies as they are now."""
        copy = Browser(self.site)
        for name in ("session", "remember_token"):
            value = self.cookie(name)
            if value is not None:
                copy.client.set_cookie(name, value)
        return copy

    def lose_session_cookie(self) -> None:
        """Forget the session cookie, as a browser does that was closed."""
        self.client.delete_cookie("session")

    def cookie(self, name: str) -> str | None:
        """Return the value of a cookie, None without it."""
        found = self.client.get_cookie(name)
        return None if found is None else found.value


# -- first uses -------------------------------------------------------------------------------------------------


def read(number: int) -> Any:
    """Read what the browser's session has from an earlier request."""
    return session.get("name")


def write(number: int) -> None:
    """Write a key of this thread."""
    session[f"key {number}"] = number


def ask_user(number: int) -> Any:
    """Ask who the user is."""
    return current_user.get_id()


def write_user_session(number: int) -> None:
    """Write a key of this thread into the user's data."""
    user_session[f"key {number}"] = number


def render_token(number: int) -> str:
    """Make a CSRF token."""
    return generate_csrf()


def say(number: int) -> None:
    """Flash a message of this thread."""
    flash(f"message {number}")


#: The first uses that threads of one request make at the same time.
FIRST_USES: list[Work] = [read, write, ask_user, write_user_session, render_token, say]


def contents() -> dict[str, Any]:
    """Return all that a request knows of its visitor, and show the flash messages."""
    return {
        "who": current_user.get_id(),
        "session": {key: value for key, value in session.items() if key.startswith("key ")},
        "user_session": {key: value for key, value in user_session.items() if key.startswith("key ")},
        "flashes": get_flashed_messages(),
    }


def forget() -> None:
    """Remove what an earlier round wrote, the CSRF secret too, and leave one message for the next page."""
    for key in [key for key in session if key.startswith("key ")]:
        del session[key]
    for key in [key for key in user_session if key.startswith("key ")]:
        del user_session[key]
    session.pop("csrf_token", None)
    get_flashed_messages()
    session["name"] = current_user.get_id()
    flash("earlier")
