"""The words on pages: those that sites use, and none of the riddles that stood there once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sched_site import create_app
from sched_site.database import db
from sqlalchemy import text

from flask_cloakroom.account import TEXTS
from support.sched.processes import RedisServer

ROOT = Path(__file__).parents[2]
while not (ROOT / "pyproject.toml").is_file():
    ROOT = ROOT.parent
FOLDERS = (ROOT / "examples", ROOT / "src" / "flask_cloakroom" / "account")
#: What a page, a message, a comment or a docstring says, is in files of these kinds.
SUFFIXES = {".html", ".py", ".js", ".css", ".md", ".lua", ".mako"}
#: Words that a page must not have, and in brackets the words that it has instead.
OLD_WORDS = {
    "What goes on": "Activity",
    "End it": "End session",
    "Sign it out": "Sign out device",
    "Take it": "Save",
    "Never mind": "Cancel",
    "Leave it as it is": "Cancel",
    "Keep it": "Cancel",
    "Not now": "Cancel",
    "nowhere": "not signed in",
    "Times are those of": "Times shown in",
    "We are not sure that you meant this": "We blocked this request",
    "came along": "was added to your cart",
    "comes along": "is kept",
    "It is all yours": "Thank you for your order",
    "Fill the shelf": "Restock the shop",
    "at this shelf": "Shop viewed",
    "You looked at": "Recently viewed",
    "does not say which": "Unknown browser",
    "Those before": "Previous page",
    "Those after": "Next page",
    "The same in numbers": "Show as a table",
    "Is it still you": "Confirm your password",
    "does not answer,": "is temporarily unavailable",
    "Our cloakroom": "Your session",
    "Our guest book": "Accounts",
    "Our stock room": "The shop",
    "not for visiting": "cannot be opened directly",
    "The two are not the same": "The passwords do not match",
    "Enter it once more": "Repeat the password",
    "any more.": "already",
    "whoever": "a user",
    "Whoever": "A user",
    "amiss": "invalid",
    "shall": "must",
    "somebody": "another user",
    "Somebody": "Another user",
}


def texts() -> list[tuple[Path, str]]:
    """Return every file with words, and its text as one line."""
    return [
        (path, " ".join(path.read_text(encoding="utf-8").split()))
        for folder in FOLDERS
        for path in sorted(folder.rglob("*"))
        if path.suffix in SUFFIXES and "instance" not in path.parts
    ]


def old_words_in(words: str) -> list[str]:
    """Return the old words that a text has, as whole words."""
    return [old for old in OLD_WORDS if re.search(rf"(?<!\w){re.escape(old)}(?!\w)", words)]


def test_no_old_words() -> None:
    """No page, message or comment of the sample site and of the account pages has the old words."""
    files = texts()
    assert len(files) > 60
    found = [
        f"{path.relative_to(ROOT)} says {old!r}; say {OLD_WORDS[old]!r}"
        for path, words in files
        for old in old_words_in(words)
    ]
    assert found == []


def test_the_check_finds_them() -> None:
    """A page that has one of them is refused, and a word that only contains one is not."""
    assert old_words_in("<h1>What goes on</h1>") == ["What goes on"]
    assert old_words_in("You shallow somebody's") == ["somebody"]


def test_texts_of_the_account_pages() -> None:
    """Each message is one sentence, with a capital and a full stop."""
    for message in TEXTS.values():
        assert re.fullmatch(r"[A-Z][^.]*\.", message)


class TestErrorPages:
    """Pages for errors know their visitor, and do without if they cannot."""

    @pytest.fixture
    def mira(self, client: FlaskClient) -> FlaskClient:
        client.post("/login", data={"username": "mira", "password": "half-past-nine"})
        return client

    @pytest.mark.parametrize(("path", "status"), [("/nothing-here", 404), ("/logout", 405), ("/operator", 403)])
    def test_signed_in(self, mira: FlaskClient, path: str, status: int) -> None:
        """The name and the button to sign out are there, and a message waits for the next page."""
        response = mira.get(path)
        assert response.status_code == status
        assert "Mira" in response.text
        assert "Sign out</button>" in response.text
        assert "Welcome" not in response.text
        assert "Welcome, Mira." in mira.get("/").text

    def test_blocked(self, mira: FlaskClient) -> None:
        """So they are on the page of a request that was blocked."""
        response = mira.post("/cart/empty", headers={"Sec-Fetch-Site": "cross-site"})
        assert response.status_code == 400
        assert "We blocked this request" in response.text
        assert "Mira" in response.text

    def test_broken(self, app: Flask, mira: FlaskClient) -> None:
        """So they are where a view fails."""
        app.config["PROPAGATE_EXCEPTIONS"] = False
        app.view_functions["session_page.show"] = lambda: 1 / 0
        response = mira.get("/session")
        assert response.status_code == 500
        assert "Mira" in response.text

    def test_not_signed_in(self, client: FlaskClient) -> None:
        """A visitor without a session gets a link to sign in, and no session."""
        response = client.get("/nothing-here")
        assert 'href="/login"' in response.text
        assert "Sign out" not in response.text
        assert "Set-Cookie" not in response.headers

    def test_operator(self, make_app: object) -> None:
        """The operator has a badge and a link to the activity page on each page, other users have neither."""
        app = make_app(OPERATORS=["vera"])  # type: ignore[operator]
        for name, password, is_operator in (("vera", "a-quarter-to-six", True), ("mira", "half-past-nine", False)):
            client = app.test_client()
            client.post("/login", data={"username": name, "password": password})
            for path in ("/", "/nothing-here"):
                page = client.get(path).text
                assert ('href="/operator"' in page) == is_operator
                assert (">Operator</span>" in page) == is_operator
        login = app.test_client().get("/login").text
        assert len(re.findall(r"vera</span><span[^>]*>Operator</span>", login)) == 1
        assert login.count(">Operator</span>") == 1

    def test_store_down(self, own_redis: RedisServer) -> None:
        """While the store is down a page that does not exist is still a 404, without the name."""
        client = create_app({"REDIS_URL": own_redis.url}).test_client()
        client.post("/login", data={"username": "mira", "password": "half-past-nine"})
        own_redis.stop()
        response = client.get("/nothing-here")
        assert response.status_code == 404
        assert "Page not found" in response.text
        assert "Mira" not in response.text
        assert client.get("/").status_code == 503

    def test_database_down(self, app: Flask, mira: FlaskClient) -> None:
        """So it is while the database has no users: the name is missing, and the page is not."""
        with app.app_context():
            db.session.execute(text("ALTER TABLE users RENAME TO elsewhere"))
            db.session.commit()
        response = mira.get("/nothing-here")
        assert response.status_code == 404
        assert "Mira" not in response.text
        assert mira.get("/account").status_code == 503
