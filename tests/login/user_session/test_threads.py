"""Threads of one request share one ``user_session``, of a user or a visitor, and lose nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from flask import session

from flask_cloakroom import StoreError, current_user, login_user, user_session
from flask_cloakroom.sessions.outage import SessionUnavailable
from support.sites.requests_on_app import MakeApp
from support.sites.threads import (
    THREADS,
    WAYS,
    Browser,
    Gate,
    Running,
    Site,
    contents,
    switching_often,
    together,
)
from support.sites.watched_store import watch


@pytest.fixture
def site(make_app: MakeApp) -> Site:
    return Site(make_app())


@pytest.fixture(autouse=True)
def often_switching() -> Iterator[None]:
    with switching_often():
        yield


@pytest.mark.parametrize("user", [None, "alice"])
@pytest.mark.parametrize("way", WAYS)
class TestOneUserSession:
    """Threads write to one ``user_session``, of a visitor and of a user."""

    def numbers(self, browser: Browser) -> Any:
        return browser.run(lambda: sorted(user_session["cart"]))

    def test_one_stored_list(self, site: Site, user: str | None, way: str) -> None:
        """Each thread appends to a list from an earlier request."""
        browser = site.browser(user)
        browser.run(lambda: user_session.update({"cart": [-1]}))
        for turn in range(3):
            browser.run_in_threads(way, lambda number, turn=turn: user_session["cart"].append(10 * turn + number))  # type: ignore[misc]
        wanted = [10 * turn + number for turn in range(3) for number in range(THREADS)]
        assert self.numbers(browser) == [-1, *wanted]

    def test_a_list_that_each_begins(self, site: Site, user: str | None, way: str) -> None:
        """``setdefault()`` of all threads gives one list."""
        browser = site.browser(user)
        browser.run_in_threads(way, lambda number: user_session.setdefault("cart", []).append(number))
        assert self.numbers(browser) == list(range(THREADS))

    def test_keys_after_the_first_use(self, site: Site, user: str | None, way: str) -> None:
        """Also if the view has asked for the user and the session before, but not for ``user_session``."""
        browser = site.browser(user)
        for turn in range(5):
            start = WAYS[way]

            def work(number: int, turn: int = turn) -> None:
                user_session[f"key {turn}.{number}"] = number

            def view(start: Any = start, work: Any = work) -> str:
                current_user.get_id()
                session.get("name")
                return str(start(THREADS, together(THREADS, work)))

            async def async_view(start: Any = start, work: Any = work) -> str:
                current_user.get_id()
                session.get("name")
                return str(await start(THREADS, together(THREADS, work)))

            browser.open(async_view if asyncio.iscoroutinefunction(start) else view)
        assert len(browser.run(contents)["user_session"]) == 5 * THREADS


def test_threads_that_come_while_user_data_is_loaded(site: Site) -> None:
    """They wait, and write to the same data. The store is asked once for the session and once for the data."""
    browser, gate = site.browser("alice"), Gate()
    browser.run(lambda: user_session.update({"cart": []}))
    store = watch(site.app)

    def view() -> list[Any]:
        current_user.get_id()
        assert store.calls == ["load"]
        store.before["load"] = gate
        threads = [Running(lambda: user_session["cart"].append(0))]
        gate.wait_for_first()
        threads += [
            Running(lambda number=number: user_session["cart"].append(number)).wait_until_inside()  # type: ignore[misc]
            for number in range(1, 4)
        ]
        gate.open()
        for thread in threads:
            thread.result()
        assert store.calls == ["load", "load"]
        return list(user_session["cart"])

    assert sorted(browser.run(view)) == [0, 1, 2, 3]
    assert sorted(browser.run(lambda: user_session["cart"])) == [0, 1, 2, 3]


def test_user_data_that_cannot_be_loaded_while_threads_wait(site: Site) -> None:
    """All get the same 503, the store is asked once, and the data stays."""
    browser, gate = site.browser("alice"), Gate()
    browser.run(lambda: user_session.update({"cart": [1]}))
    store = watch(site.app)
    threads: list[Running] = []

    def fail() -> None:
        gate()
        raise StoreError("down")

    def view() -> str:
        current_user.get_id()
        store.calls.clear()
        store.before["load"] = fail
        threads.append(Running(lambda: user_session["cart"].append(2)))
        gate.wait_for_first()
        threads.extend(Running(lambda: user_session["cart"].append(3)).wait_until_inside() for _ in range(3))
        gate.open()
        return str([thread.join() for thread in threads])

    response = browser.open(view)
    assert [type(thread.error) for thread in threads] == [SessionUnavailable] * 4
    assert store.calls == []
    assert response.status_code == 503
    assert browser.run(lambda: (current_user.get_id(), list(user_session["cart"]))) == ("alice", [1])


@pytest.mark.promise(3)
@pytest.mark.parametrize("way", WAYS)
def test_a_login_whose_data_is_merged_beside_writes(site: Site, way: str) -> None:
    """One thread logs a visitor with data in, and uses the merged data. The others write to the session meanwhile.

    The user's data has the visitor's and the user's keys, and the session has all that was written.
    """
    for turn in range(5):
        site.browser("alice").run(lambda turn=turn: user_session.update({f"hers {turn}": turn}))  # type: ignore[misc]
        browser = site.browser()
        browser.run(lambda turn=turn: user_session.update({f"mine {turn}": turn}))  # type: ignore[misc]

        def work(number: int, turn: int = turn) -> Any:
            if number == 0:
                login_user(site.users["alice"])
                return sorted(user_session)
            for part in range(10):
                session[f"key {number}.{part}"] = part
            return None

        wanted = sorted(f"{whose} {number}" for whose in ("hers", "mine") for number in range(turn + 1))
        assert browser.run_in_threads(way, work)[0] == wanted
        found = browser.run(lambda: (current_user.get_id(), sorted(user_session), len(contents()["session"])))
        assert found == ("alice", wanted, 10 * (THREADS - 1))


@pytest.mark.promise(3)
@pytest.mark.parametrize("logs_in", ["in the same request", "in an earlier request"])
@pytest.mark.parametrize("way", WAYS)
def test_first_use_after_a_login(site: Site, way: str, logs_in: str) -> None:
    """Threads that are the first to use the data after a login all write to the merged data, and lose nothing."""
    start = WAYS[way]

    def work(number: int) -> Any:
        user_session[f"key {number}"] = number
        return user_session.get("mine")

    for turn in range(5):
        browser = site.browser()
        browser.run(lambda turn=turn: user_session.update({"mine": turn}))  # type: ignore[misc]
        results: list[Any] = []

        def log_in() -> None:
            login_user(site.users["alice"])

        def view(results: list[Any] = results) -> str:
            log_in()
            return str(results.extend(start(THREADS, together(THREADS, work))))

        async def async_view(results: list[Any] = results) -> str:
            log_in()
            return str(results.extend(await start(THREADS, together(THREADS, work))))

        if logs_in == "in the same request":
            browser.open(async_view if asyncio.iscoroutinefunction(start) else view)
        else:
            browser.run(log_in)
            results = browser.run_in_threads(way, work)
        assert results == [turn] * THREADS
        assert browser.run(contents)["user_session"] == {f"key {number}": number for number in range(THREADS)}
        site.browser("alice").run(lambda: user_session.clear())
