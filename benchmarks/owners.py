"""The sessions of one user among very many sessions: the time to list them, and the time to end them all.

Measured inside views, as an application calls them: ``active_sessions()`` for a user with twenty sessions, and
``logout_everywhere()`` for a user with a thousand.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask import Flask, session
from werkzeug.test import Client

from apps import CLOAKROOM_DB, CONTENTS, Environment
from tools import say

if TYPE_CHECKING:
    from flask_cloakroom.core.sessions.repository import Repository

STORES = ("SQLite", "Redis")

#: Sessions of the user whose list is shown, and of the users who log out everywhere.
LISTED = 20
LISTED_USER = "ada"
ENDED = 1000

#: How often the list is shown, and how many users log out everywhere.
LISTS = 100
ENDS = 5

AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@dataclass(frozen=True)
class OwnersScale:
    """Milliseconds of one call, in the order of the calls."""

    many: int
    list_ms: list[float]
    end_ms: list[float]
    #: Microseconds of one login outside of a request.
    fill_us: float

    @property
    def listing(self) -> str:
        return f"active_sessions() of {LISTED}"

    @property
    def ending(self) -> str:
        return f"logout_everywhere() of {ENDED:,}"


def measure(store: str, environment: Environment, many: int) -> OwnersScale:
    """Fill a store with ``many`` sessions of users with twenty sessions each, and measure among them."""
    times: list[float] = []
    app = _site(store, environment, times)
    repository: Repository = app.session_interface.repository  # type: ignore[attr-defined]
    say(f"filling {store} with {many:,} sessions of {many // LISTED:,} users")
    fill_us = _fill(repository, many)
    owners = [f"heavy{number}" for number in range(ENDS)]
    for owner in owners:
        for _ in range(ENDED - 1):
            _create_session(repository, owner)
    gc.collect()
    gc.freeze()
    try:
        browser = _logged_in(app, LISTED_USER)
        list_ms = _timed(times, lambda: _get(browser, "/list", str(LISTED)), LISTS)
        end_ms = []
        for owner in owners:
            browser = _logged_in(app, owner)
            end_ms += _timed(times, lambda browser=browser: _get(browser, "/end", str(ENDED)), 1)  # type: ignore[misc]
            _get(browser, "/who", "nobody")
    finally:
        gc.unfreeze()
    repository.store.close()
    return OwnersScale(many, list_ms, end_ms, fill_us)


def _site(store: str, environment: Environment, times: list[float]) -> Flask:
    from flask_cloakroom import Cloakroom, UserMixin, active_sessions, current_user, login_user, logout_everywhere

    app = Flask("benchmark", static_folder=None, instance_path=environment.folder)
    url = (
        f"sqlite:///{environment.sqlite}"
        if store == "SQLite"
        else environment.redis(CLOAKROOM_DB).replace("unix://", "redis+unix://")
    )
    app.config["SESSION_STORE"] = url
    cloakroom = Cloakroom(app)

    class Member(UserMixin):
        def __init__(self, user_id: str) -> None:
            self.id = user_id

    cloakroom.user_loader(Member)

    def timed(call: Callable[[], Any]) -> Any:
        session.get("user")  # every page behind a login has opened its session at this point
        start = time.perf_counter()
        found = call()
        times.append((time.perf_counter() - start) * 1e3)
        return found

    app.add_url_rule("/login/<user>", "login", lambda user: str(login_user(Member(user))))
    app.add_url_rule("/who", "who", lambda: current_user.get_id() or "nobody")
    app.add_url_rule("/list", "list", lambda: str(len(timed(active_sessions))))
    app.add_url_rule("/end", "end", lambda: str(timed(logout_everywhere)))
    return app


def _create_session(repository: Repository, user: str) -> None:
    from flask_cloakroom.core.entries.ownership import NewLogin
    from flask_cloakroom.core.values import codec

    contents = CONTENTS | {"_user_id": user, "_fresh": True, "_id": "b" * 64}
    note = f'{{"address": "192.0.2.1", "agent": "{AGENT}"}}'
    repository.create({key: codec.pack(value) for key, value in contents.items()}, login=NewLogin(note))


def _fill(repository: Repository, many: int) -> float:
    """Log in ``many`` times, the listed user among them. Return the microseconds of one login."""
    users = many // LISTED
    listed = {number * many // LISTED for number in range(1, LISTED)}
    start = time.perf_counter()
    for number in range(many):
        _create_session(repository, LISTED_USER if number in listed else f"user{number % users}")
    return (time.perf_counter() - start) / many * 1e6


def _logged_in(app: Flask, user: str) -> Client:
    browser = Client(app)
    _get(browser, f"/login/{user}", "True")
    return browser


def _get(browser: Client, path: str, expected: str) -> None:
    response = browser.get(path, headers={"User-Agent": AGENT})
    if response.text != expected:
        raise RuntimeError(f"{path} answered {response.text[:80]!r} and not {expected!r}. Check the site.")


def _timed(times: list[float], call: Callable[[], None], count: int) -> list[float]:
    del times[:]
    for _ in range(count):
        call()
    return list(times)
