"""The Redis permissions in docs/deployment.md are enough for all commands, and each permission is needed."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from flask import Flask, flash, get_flashed_messages, request, session

from flask_cloakroom import (
    Cloakroom,
    UserMixin,
    active_sessions,
    current_user,
    delete_user_data,
    export_user_data,
    generate_csrf,
    login_user,
    logout_everywhere,
    logout_user,
    user_session,
)
from flask_cloakroom.cli import redis as redis_group
from flask_cloakroom.cli import sessions
from support import ROOT
from support.servers.special import VolatileRedisServer

DEPLOYMENT = ROOT / "docs" / "deployment.md"


def documented(name: str) -> list[str]:
    """Return the words of the rule for a user, as the documentation has it."""
    (found,) = re.findall(rf"^ACL SETUSER {name} (.*)$", DEPLOYMENT.read_text(), re.MULTILINE)
    return str(found).split()


RULES = documented("shop")
COMMANDS = [rule for rule in RULES if rule.startswith("+")]
PATTERNS = [rule for rule in RULES if rule.startswith("~")]


class User(UserMixin):
    """A user with a password."""

    def __init__(self, name: str) -> None:
        self.id = name

    def session_auth_hash(self) -> str:
        return "argon2:first"


def make_site(url: str, **config: Any) -> Flask:
    """Return a site that uses everything, with a view for each."""
    app = Flask("shop")
    app.config.update(
        SESSION_STORE=url, SECRET_KEY="for tests", SESSION_LIMIT_PER_USER=2, SESSION_LIMIT_POLICY="oldest"
    )
    app.config.update(config)
    cloakroom = Cloakroom(app)
    cloakroom.user_loader(User)

    @app.post("/login/<name>")
    def login(name: str) -> str:
        return str(login_user(User(name), remember="remember" in request.args))

    @app.get("/who")
    def who() -> str:
        return str(current_user.get_id())

    @app.post("/write/<value>")
    def write(value: str) -> str:
        session["value"] = value
        user_session["value"] = value
        flash(value)
        return generate_csrf()

    @app.get("/read")
    def read() -> str:
        return f"{session.get('value')} {user_session.get('value')} {get_flashed_messages()}"

    @app.post("/locked")
    def locked() -> str:
        with session.lock():  # type: ignore[attr-defined]
            session["number"] = session.get("number", 0) + 1
        return "locked"

    @app.get("/devices")
    def devices() -> str:
        return str(len(active_sessions()))

    @app.post("/logout")
    def logout() -> str:
        logout_user()
        return "out"

    @app.post("/logout-everywhere")
    def everywhere() -> str:
        logout_everywhere()
        return "out"

    return app


class Visitor:
    """A browser whose every page must be there."""

    def __init__(self, app: Flask, cookies: dict[str, str] | None = None) -> None:
        self.browser = app.test_client()
        for name, value in (cookies or {}).items():
            self.browser.set_cookie(name, value)

    def get(self, path: str) -> str:
        return self._text(self.browser.get(path))

    def post(self, path: str, **form: str) -> str:
        return self._text(self.browser.post(path, data=form, headers={"Sec-Fetch-Site": "same-origin"}))

    @staticmethod
    def _text(response: Any) -> str:
        assert response.status_code == 200, response.status
        return str(response.text)


def run(app: Flask, group: Any, *arguments: str) -> str:
    """Run a command of ``flask sessions`` or ``flask redis``."""
    result = app.test_cli_runner().invoke(group, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def everything(app: Flask) -> None:
    """Do all that the package does over Redis."""
    first = Visitor(app)
    token = first.post("/write/anonymous")
    assert first.post("/login/alice?remember=1") == "True"
    assert first.get("/read") == "anonymous anonymous ['anonymous']"
    first.post("/write/1", csrf_token=token)
    assert first.get("/read") == "1 1 ['1']"
    assert first.post("/locked") == "locked"
    remember = first.browser.get_cookie("remember_token")
    assert remember is not None
    second = Visitor(app, {"remember_token": remember.value})
    assert second.get("/who") == "alice"
    assert second.get("/devices") in ("1", "2")
    third, fourth = Visitor(app), Visitor(app)
    for visitor in (third, fourth):
        assert visitor.post("/login/alice") == "True"
    assert fourth.get("/devices") == "2"
    assert third.post("/logout") == "out"
    assert third.get("/who") == "None"
    for command in (["list", "alice"], ["count"], ["purge"], ["end", "alice"]):
        run(app, sessions, *command)
    assert fourth.get("/who") == "None"
    fifth = Visitor(app)
    fifth.post("/login/bob?remember=1")
    assert fifth.post("/logout-everywhere") == "out"
    fifth.post("/login/bob?remember=1")
    run(app, sessions, "end", "--everybody")
    assert fifth.get("/who") == "None"
    for command in ("ping", "info"):
        run(app, redis_group, command)
    with app.app_context():
        assert export_user_data("alice")
        assert delete_user_data("alice")


class Errors(logging.Handler):
    """Keeps what the package's loggers say is wrong: some failures harm no page, and must not be there either."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line that tells of the store."""
        if "store" in record.getMessage().lower():
            self.records.append(record.getMessage())


@pytest.fixture
def errors() -> Iterator[Errors]:
    """Return what is logged from now on."""
    errors = Errors()
    logger = logging.getLogger("flask_cloakroom")
    logger.addHandler(errors)
    yield errors
    logger.removeHandler(errors)


@pytest.fixture
def admin(own_server: VolatileRedisServer) -> Iterator[Any]:
    """Return a client that may do everything."""
    with redis.Redis(port=own_server.port) as admin:
        yield admin


def allow(admin: Any, rules: list[str], user: str = "shop") -> str:
    """Make a user with exactly these rights; return the part of a URL that names the user."""
    admin.execute_command("ACL", "SETUSER", user, "reset", *rules)
    (password,) = [rule[1:] for rule in rules if rule.startswith(">")]
    return f"{user}:{password}@"


def url_for(server: VolatileRedisServer, user: str, database: int = 1) -> str:
    """Return the server's URL for a user."""
    return f"redis://{user}127.0.0.1:{server.port}/{database}"


@pytest.mark.parametrize("encryption", [False, True])
def test_are_enough(own_server: VolatileRedisServer, admin: Any, errors: Errors, encryption: bool) -> None:
    """All of it works, and nothing is refused by the way: the server keeps a log of that."""
    app = make_site(url_for(own_server, allow(admin, RULES)), SESSION_ENCRYPTION=encryption)
    everything(app)
    assert errors.records == []
    refused = {(entry["reason"], entry["object"]) for entry in admin.acl_log()}
    # The driver tells the server its name and version, and does not mind if it may not.
    assert refused <= {("command", "client|setinfo")}


@pytest.mark.parametrize("missing", COMMANDS)
def test_each_command_is_needed(own_server: VolatileRedisServer, admin: Any, errors: Errors, missing: str) -> None:
    """Without it the server refuses it, and a page, a command line or the log tells that something failed."""
    app = make_site(url_for(own_server, allow(admin, [rule for rule in RULES if rule != missing])))
    assert went_wrong(app, errors)
    assert missing[1:] in {entry["object"] for entry in admin.acl_log()}
    allow(admin, RULES)
    admin.flushall()
    everything(app)


@pytest.mark.parametrize("keys", ["~session:owner:*", "~other:*"])
def test_the_keys_are_needed(own_server: VolatileRedisServer, admin: Any, errors: Errors, keys: str) -> None:
    """A user that may only touch other keys cannot have sessions."""
    assert PATTERNS == ["~session:*"]
    app = make_site(url_for(own_server, allow(admin, [keys if rule in PATTERNS else rule for rule in RULES])))
    assert went_wrong(app, errors)


def test_another_prefix(own_server: VolatileRedisServer, admin: Any, errors: Errors) -> None:
    """The pattern follows SESSION_KEY_PREFIX, and the keys look as the documentation has it."""
    user = allow(admin, ["~shop:*" if rule in PATTERNS else rule for rule in RULES])
    app = make_site(url_for(own_server, user, database=0), SESSION_KEY_PREFIX="shop:")
    everything(app)
    assert Visitor(app).post("/login/carol") == "True"
    assert errors.records == []
    names = {re.sub(rb"[0-9a-f]+$", lambda digits: b"%d digits" % len(digits[0]), name) for name in admin.scan_iter()}
    assert names == {b"shop:64 digits", b"shop:owner:32 digits"}


def went_wrong(app: Flask, errors: Errors) -> bool:
    """Tell whether anything failed, on a page, on the command line or in the log."""
    try:
        everything(app)
    except Exception:  # a failed assertion, or an error of the application
        return True
    return bool(errors.records)
