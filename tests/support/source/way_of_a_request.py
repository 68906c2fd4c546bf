"""Measure the way of a request through the package.

``python tests/support/source/way_of_a_request.py [--files]`` prints a table.

A reader who follows a request must open every file on its way, and must find the place again at every move from one
file to another. The fewer files and moves, the easier the package is to understand.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from flask import Flask, session
from flask.testing import FlaskClient

import flask_cloakroom
from flask_cloakroom import Cloakroom, UserMixin, current_user, login_required, login_user, logout_user

PACKAGE = Path(flask_cloakroom.__file__).parent
#: Applications that are measured. Each gives the same numbers, except in the request that happens to purge expired
#: entries: a new application waits for 1 to 32 new entries, chosen at random, before the first purge.
APPLICATIONS = 5


@dataclass
class Way:
    """The way of one request: the package's files in the order of its moves, by their paths inside the package."""

    trail: list[str]

    @property
    def files(self) -> int:
        """Return the number of files whose code ran."""
        return len(set(self.trail))

    @property
    def moves(self) -> int:
        """Return the number of moves into a file. The first file counts as a move."""
        return len(self.trail)


@contextmanager
def way_through(package: Path = PACKAGE) -> Iterator[Way]:
    """Record the way of the ``with`` block through a package's files. Only the calling thread is recorded.

    Each ``call`` event of :func:`sys.setprofile` counts whose code is in the package: calls of functions, and each
    resumption of a generator. A call event in another file than the previous one is a move. Returning is no move.
    """
    way = Way([])
    beginning = f"{package}/"

    def note(frame: FrameType, event: str, argument: object) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(beginning):
            file = path.removeprefix(beginning)
            if way.trail[-1:] != [file]:
                way.trail.append(file)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield way
    finally:
        sys.setprofile(before)


class User(UserMixin):
    """A user who always exists."""

    def __init__(self, user_id: str) -> None:
        self.id = user_id


def make_app(folder: str) -> Flask:
    """Return a site with all parts of the package on a SQLite store in a folder.

    Every view answers GET: the protection against request forgery then takes the same short way in every request.
    """
    app = Flask("site", instance_path=folder)
    app.config["SECRET_KEY"] = "a key that is long enough"
    cloakroom = Cloakroom(app)
    cloakroom.user_loader(User)

    @app.get("/read")
    def read() -> str:
        return str(session.get("theme"))

    @app.get("/change")
    def change() -> str:
        session["visits"] = session.get("visits", 0) + 1
        return "changed"

    @app.get("/members")
    @login_required
    def members() -> str:
        return str(current_user.id)

    @app.get("/login")
    def login() -> str:
        return str(login_user(User("alice")))

    @app.get("/login-with-remember")
    def login_with_remember() -> str:
        return str(login_user(User("alice"), remember=True))

    @app.get("/logout")
    def logout() -> str:
        return str(logout_user())

    return app


def way_of(client: FlaskClient, path: str) -> Way:
    """Request a path, and return the way of the request, from the client's call to its return."""
    with way_through() as way:
        response = client.get(path)
    assert response.status_code == 200, f"{path} answered {response.status}"
    return way


def one_round(app: Flask) -> dict[str, Way]:
    """Return the ways of what two browsers of one user do, one after the other.

    The first browser has a session with data when it logs in. The second browser has no cookie when it logs in with
    "remember me". Then it loses its session cookie. It stays logged in at the end, so in the second round the user has
    one more session. The way back by the remember token visits every session of the user: each adds eight moves.
    """
    first, second = app.test_client(), app.test_client()
    way_of(first, "/change")
    ways = {
        "reads the session": way_of(first, "/read"),
        "changes it": way_of(first, "/change"),
        "login": way_of(first, "/login"),
        "page behind login_required": way_of(first, "/members"),
        "logout": way_of(first, "/logout"),
        "login with remember": way_of(second, "/login-with-remember"),
    }
    second.delete_cookie("session")
    ways["comes back by its remember token"] = way_of(second, "/members")
    return ways


def second_round() -> dict[str, Way]:
    """Return the ways of an application's second round. The first one fills caches and connects to the store."""
    with tempfile.TemporaryDirectory() as folder:
        app = make_app(folder)
        try:
            one_round(app)
            return one_round(app)
        finally:
            app.session_interface.store.close()  # type: ignore[attr-defined]


def ways_of_requests() -> dict[str, Way]:
    """Return the way of each request by the request's name: the shortest that any of the applications took."""
    rounds = [second_round() for _ in range(APPLICATIONS)]
    return {name: min((ways[name] for ways in rounds), key=lambda way: way.moves) for name in rounds[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", action="store_true", help="also list each request's files with the moves into each")
    options = parser.parse_args()
    print(f"{'request':<34}{'files':>5}{'moves':>7}")
    for name, way in ways_of_requests().items():
        print(f"{name:<34}{way.files:>5}{way.moves:>7}")
        if options.files:
            for file, moves in Counter(way.trail).most_common():
                print(f"    {file:<35}{moves:>7}")


if __name__ == "__main__":
    main()
