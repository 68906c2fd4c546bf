"""Threads, nested contexts, preserved contexts and streams never get each other's user."""

from __future__ import annotations

import contextvars
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier
from typing import Any, Final

import pytest
from flask import g, stream_with_context

from flask_cloakroom import current_user, login_user
from support.sites.login import Browser, MakeSite, Site, User

THREADS: Final = 8
REQUESTS: Final = 40


@pytest.fixture
def crowd(site: Site) -> Site:
    """A site with a user for each thread."""
    site.users.update({f"user{number}": User(f"user{number}") for number in range(THREADS)})
    return site


@pytest.mark.parametrize("shared", [True, False], ids=["one context", "a context each"])
def test_threads(crowd: Site, shared: bool) -> None:
    """Each thread's clients are its own user and nobody, also if all run inside one pushed application context.

    They log in and out at random meanwhile.
    """
    barrier = Barrier(THREADS)

    def work(number: int) -> list[str]:
        chance, user = random.Random(number), f"user{number}"
        wrong = []
        with ExitStack() as around:
            if not shared:
                around.enter_context(crowd.app.app_context())
            mine, visitor, present = crowd.browser(user), crowd.browser(), user
            barrier.wait(30)
            for _ in range(REQUESTS):
                if chance.random() < 0.2:
                    present = user if present == "nobody" else "nobody"
                    _ = mine.login(user) if present == user else mine.open("/logout")
                seen = (mine.who, visitor.who)
                if seen != (present, "nobody"):
                    wrong.append(f"{seen} in place of {present}")
        return wrong

    with crowd.app.app_context(), ThreadPoolExecutor(THREADS) as pool:
        g.something = 1
        runs = [pool.submit(contextvars.copy_context().run if shared else _run, work, one) for one in range(THREADS)]
        assert [run.result(60) for run in runs] == [[]] * THREADS


def _run(function: Any, *arguments: Any) -> Any:
    return function(*arguments)


def test_nested_application_contexts(site: Site) -> None:
    """On the way in and out again, with clients that were made at each depth."""
    with ExitStack() as around:
        browsers: list[tuple[Browser, str]] = []
        for depth in range(4):
            around.enter_context(site.app.app_context())
            g.depth = depth
            browsers += [(site.browser(user), user or "nobody") for user in ("alice", None, "bob")]
            assert [browser.who for browser, _ in browsers] == [user for _, user in browsers]
    assert [browser.who for browser, _ in browsers] == [user for _, user in browsers]


def test_clients_inside_a_request_context(site: Site) -> None:
    """Alice is logged in by the test itself; other clients meanwhile are not her, and she stays."""
    bob, nobody = site.browser("bob"), site.browser()
    with site.app.app_context(), site.app.test_request_context("/"):
        assert login_user(site.users["alice"])
        for _ in range(2):
            assert [bob.who, current_user.get_id(), nobody.who] == ["bob", "alice", "nobody"]
        with site.app.app_context():
            assert [bob.who, nobody.who] == ["bob", "nobody"]
        with site.app.test_request_context("/"):
            assert current_user.get_id() is None
        assert current_user.get_id() == "alice"
    assert not current_user


def test_preserved_contexts(site: Site) -> None:
    """``with client:`` keeps the context of its last request, inside another one that is kept."""
    alice, bob = site.browser("alice"), site.browser("bob")
    with site.app.app_context(), alice.client:
        alice.open("/who")
        assert current_user.get_id() == "alice"
        with bob.client:
            bob.open("/who")
            assert current_user.get_id() == "bob"
            assert alice.copy().who == "alice"
            assert current_user.get_id() == "bob"
        assert current_user.get_id() == "alice"


def test_contexts_of_two_applications(make_site: MakeSite, kind: str) -> None:
    """A request to one from inside a request to the other: each has its own user."""
    one, other = (make_site(kind) for _ in range(2))
    alice, bob = one.browser("alice"), other.browser("bob")
    one.work = lambda: f"{current_user.get_id()} {bob.who} {current_user.get_id()}"
    with other.app.app_context():
        assert alice.text("/work") == "alice bob alice"
        assert (bob.who, other.browser().who) == ("bob", "nobody")


def test_streams_that_take_turns(site: Site) -> None:
    """Two responses are read piece by piece in turns: each goes on with its own user."""

    @site.app.route("/stream")
    def stream() -> Any:
        def pieces() -> Iterator[str]:
            for _ in range(3):
                yield str(current_user.get_id())

        return stream_with_context(pieces())

    turns = Barrier(2)

    def read(browser: Browser) -> list[bytes]:
        pieces = []
        with browser.open("/stream", buffered=False) as response:
            for piece in response.iter_encoded():
                turns.wait(30)
                pieces.append(piece)
        return pieces

    with ThreadPoolExecutor(2) as pool:
        reads = [pool.submit(read, site.browser(user)) for user in ("alice", "bob")]
        assert [each.result(60) for each in reads] == [[b"alice"] * 3, [b"bob"] * 3]
