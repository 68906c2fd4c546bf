"""Each setting is checked at start, by an error that names it and says what to do."""

from __future__ import annotations

import asyncio
import enum
import logging
import math
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis
import redis.asyncio
import valkey
from flask import Flask, session
from werkzeug.test import TestResponse

from flask_cloakroom import Cloakroom, Session, SettingError
from flask_cloakroom.core.sessions.session_registry import SessionLimit
from flask_cloakroom.core.values.merge import STRATEGIES
from flask_cloakroom.login.setup.settings import settings_of as login_settings_of
from flask_cloakroom.sessions.interface import ServerSessionInterface
from flask_cloakroom.sessions.settings import DEFAULTS, SessionSettings
from flask_cloakroom.settings import Reader
from flask_cloakroom.stores.memory import MemoryStore
from flask_cloakroom.stores.redis.store import RedisStore
from flask_cloakroom.stores.sqlite.store import SQLiteStore
from support.servers.redis_server import RedisServer

SECRET = "s3cr3t-pa55"


def make_app(folder: Path, **config: Any) -> Flask:
    app = Flask("site", instance_path=str(folder / "instance"))
    app.config.update(config)

    @app.get("/write")
    def write() -> str:
        session["number"] = session.get("number", 0) + 1
        return str(session["number"])

    return app


def read(folder: Path, **config: Any) -> SessionSettings:
    """Return what Session(app) makes of ``config``."""
    app = make_app(folder, **config)
    Session(app)
    assert isinstance(app.session_interface, ServerSessionInterface)
    return app.session_interface.settings


def refused(folder: Path, **config: Any) -> SettingError:
    """Return the error of Session(app), having checked that it holds no secret; nor do the errors that led to it."""
    app = make_app(folder, **config)
    default = app.session_interface
    with pytest.raises(SettingError) as caught:
        Session(app)
    assert app.session_interface is default  # it was not half set up
    error: BaseException | None = caught.value
    assert str(error).startswith(f"{caught.value.setting}: ")
    while error is not None:
        assert SECRET not in f"{error} {error!r}"
        assert SECRET[:6] not in f"{error} {error!r}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return caught.value


def set_cookie(response: TestResponse) -> str:
    """Return the one Set-Cookie header."""
    (header,) = response.headers.getlist("Set-Cookie")
    return header


class Answer(enum.IntEnum):
    """An int that is no plain one."""

    YES = 1


BOOLEANS = [
    "SESSION_PERMANENT",
    "SESSION_REFRESH_EACH_REQUEST",
    "SESSION_ENCRYPTION",
    "SESSION_COOKIE_SECURE",
    "SESSION_COOKIE_HTTPONLY",
    "SESSION_COOKIE_PARTITIONED",
]

#: Setting → values that are taken, each with what it is read as (and where).
ACCEPTED: list[tuple[str, Any, Callable[[SessionSettings], Any], Any]] = [
    ("SESSION_PERMANENT", False, lambda read: read.permanent, False),
    ("SESSION_REFRESH_EACH_REQUEST", False, lambda read: read.refresh_each_request, False),
    ("SESSION_ENCRYPTION", True, lambda read: read.encrypt, True),
    ("SESSION_MAX_BYTES", 1024, lambda read: read.max_bytes, 1024),
    ("SESSION_MAX_BYTES", 2**40, lambda read: read.max_bytes, 2**40),
    ("SESSION_LIMIT_PER_USER", None, lambda read: read.limit, None),
    ("SESSION_LIMIT_PER_USER", 1, lambda read: read.limit, SessionLimit(1, "oldest")),
    ("SESSION_LIMIT_POLICY", "oldest", lambda read: read.limit, None),
    ("SESSION_LIMIT_POLICY", "refuse", lambda read: read.limit, None),
    ("SESSION_ID_LENGTH", 16, lambda read: len(read.tickets.issue()), 22),
    ("SESSION_ID_LENGTH", 64, lambda read: len(read.tickets.issue()), 86),
    ("PERMANENT_SESSION_LIFETIME", timedelta(hours=1), lambda read: read.lifetimes.idle, 3600),
    ("PERMANENT_SESSION_LIFETIME", 1, lambda read: read.lifetimes.idle, 1),
    ("PERMANENT_SESSION_LIFETIME", 1.01, lambda read: read.lifetimes.idle, 2),
    ("PERMANENT_SESSION_LIFETIME", timedelta(seconds=1, microseconds=1), lambda read: read.lifetimes.idle, 2),
    ("PERMANENT_SESSION_LIFETIME", timedelta(days=36500), lambda read: read.lifetimes.idle, 36500 * 86400),
    ("SESSION_ABSOLUTE_LIFETIME", None, lambda read: read.lifetimes.absolute, None),
    ("SESSION_ABSOLUTE_LIFETIME", timedelta(days=1), lambda read: read.lifetimes.absolute, 86400),
    ("SESSION_ABSOLUTE_LIFETIME", 50 * 366 * 86400, lambda read: read.lifetimes.absolute, 50 * 366 * 86400),
    ("SESSION_RENEW_EVERY", 900, lambda read: read.lifetimes.renew_every, 900),
    ("SESSION_RENEW_EVERY", None, lambda read: read.lifetimes.renew_every, None),
    ("SESSION_REFRESH_AFTER", 0, lambda read: read.lifetimes.refresh_after, 0),
    ("SESSION_REFRESH_AFTER", timedelta(seconds=5), lambda read: read.lifetimes.refresh_after, 5),
    ("SESSION_REFRESH_AFTER", None, lambda read: read.lifetimes.refresh_after, 600),
    ("SESSION_COOKIE_NAME", "sid!#$%&'*+-.^_`|~", lambda read: read.cookie.name, "sid!#$%&'*+-.^_`|~"),
    ("SESSION_COOKIE_DOMAIN", "example.org", lambda read: read.cookie.domain, "example.org"),
    ("SESSION_COOKIE_DOMAIN", ".example.org", lambda read: read.cookie.domain, ".example.org"),
    ("SESSION_COOKIE_DOMAIN", "bücher.example", lambda read: read.cookie.domain, "bücher.example"),
    ("SESSION_COOKIE_DOMAIN", "", lambda read: read.cookie.domain, None),
    ("SESSION_COOKIE_DOMAIN", False, lambda read: read.cookie.domain, None),
    ("SESSION_COOKIE_PATH", "/shop", lambda read: read.cookie.path, "/shop"),
    ("SESSION_COOKIE_PATH", None, lambda read: read.cookie.path, "/"),
    ("APPLICATION_ROOT", "/app", lambda read: read.cookie.path, "/app"),
    ("SESSION_COOKIE_SECURE", True, lambda read: read.cookie.secure, True),
    ("SESSION_COOKIE_HTTPONLY", False, lambda read: read.cookie.httponly, False),
    ("SESSION_COOKIE_PARTITIONED", True, lambda read: (read.cookie.partitioned, read.cookie.secure), (True, True)),
    ("SESSION_COOKIE_SAMESITE", "Strict", lambda read: read.cookie.samesite, "Strict"),
    ("SESSION_COOKIE_SAMESITE", "strict", lambda read: read.cookie.samesite, "Strict"),
    ("SESSION_COOKIE_SAMESITE", None, lambda read: read.cookie.samesite, "Lax"),
    ("SESSION_MERGE", None, lambda read: set(read.strategies), {"_flashes", "_flashes_taken"}),
    ("SESSION_MERGE", {}, lambda read: set(read.strategies), {"_flashes", "_flashes_taken"}),
    ("SESSION_MERGE", {"_flashes": "last"}, lambda read: read.strategies["_flashes"], STRATEGIES["last"]),
    ("SESSION_MERGE", {"a": "sum"}, lambda read: read.strategies["a"], STRATEGIES["sum"]),
    ("SESSION_MERGE", {2: max}, lambda read: read.strategies[2], max),
    ("USER_SESSION_MERGE", None, lambda read: dict(read.user_data.strategies), {}),
    ("USER_SESSION_MERGE", {"a": "sum"}, lambda read: read.user_data.strategies["a"], STRATEGIES["sum"]),
    ("USER_SESSION_MERGE", {"a": "first"}, lambda read: "a" in read.strategies, False),
    ("USER_SESSION_LIFETIME", timedelta(days=2), lambda read: read.user_data.lifetime, 2 * 24 * 3600),
    ("SESSION_STORE_TIMEOUT", 1, lambda read: read.make_store()._timeout, 1.0),  # type: ignore[attr-defined]
    ("SESSION_STORE_TIMEOUT", 0.05, lambda read: read.make_store()._timeout, 0.05),  # type: ignore[attr-defined]
    ("SESSION_NAMESPACE", "shop", lambda read: b"shop" in read.tickets._prefix, True),
    ("SESSION_NAMESPACE", None, lambda read: b"site" in read.tickets._prefix, True),
    ("SESSION_NAMESPACE", "", lambda read: read.tickets._prefix.endswith(b":\0"), True),
]

NO_TIMES = [
    "3600",
    "",
    b"1",
    None,
    True,
    False,
    -1,
    math.nan,
    math.inf,
    -math.inf,
    timedelta(-1),
    10**12,
    1e300,
    [],
    {},
]
NO_TIMES += [Decimal(5), timedelta.max, object(), 1 + 0j]

#: Setting → values that are refused.
REFUSED: dict[str, list[Any]] = {
    **{name: ["True", "1", "", 2, -1, 1.0, None, Answer.YES, [], SECRET] for name in BOOLEANS},
    "SESSION_LIMIT_PER_USER": [0, -1, 1.5, "5", True, math.nan, Answer.YES, SECRET],
    "SESSION_LIMIT_POLICY": ["newest", None, True, 1, ""],
    "SESSION_MAX_BYTES": [1023, 0, -1, 1e6, 2048.0, "1 MiB", None, True, math.nan, Answer.YES, SECRET],
    "SESSION_ID_LENGTH": [15, 65, 0, -32, 32.0, "32", None, True, 10**9, SECRET],
    "PERMANENT_SESSION_LIFETIME": [*NO_TIMES, 0, 0.0, timedelta(0), SECRET],
    "SESSION_ABSOLUTE_LIFETIME": [*(value for value in NO_TIMES if value is not None), 0, timedelta(days=36500)],
    "SESSION_RENEW_EVERY": [*(value for value in NO_TIMES if value is not None), 0],
    "SESSION_REFRESH_AFTER": [*(value for value in NO_TIMES if value is not None), 31 * 86400, timedelta(days=32)],
    "SESSION_STORE_TIMEOUT": [0, -1, 0.0, math.nan, math.inf, "2", None, True, 10**9, timedelta(seconds=2), SECRET],
    "SESSION_COOKIE_NAME": ["", "a b", "a=b", "a;b", "a,b", 'a"b', "sé", "a\n", "\0", "a\tb", "(a)", None, b"sid", 5],
    "SESSION_COOKIE_DOMAIN": [5, True, b"example.org", ["a"], "a b", "a;b", "a\nb", "http://a", "a..b", "x" * 64],
    "SESSION_COOKIE_PATH": ["shop", "./", 5, True, b"/", ["/"], Path("/")],
    "APPLICATION_ROOT": ["shop", 5, True, b"/"],
    "SESSION_COOKIE_SAMESITE": ["", "no", "Laxx", True, False, 1, b"Lax", ["Lax"]],
    "SESSION_KEY_PREFIX": [None, b"session:", 5, True, ["session:"]],
    "SESSION_NAMESPACE": [5, True, b"shop", "a\0b", ["a"], f"{SECRET}\0"],
    "USER_SESSION_MERGE": [{2: "sum"}, {"a": "average"}, ["a"], "sum"],
    "USER_SESSION_LIFETIME": [0, -1, "day", None, True, timedelta(0)],
    "SESSION_MERGE": [
        "sum", ["a"], 5, 0, "", False, [], {"a": "product"}, {"a": None}, {"a": 5}, {"a": ""}, {"a": ["sum"]},
    ],
    "SESSION_TYPE": ["Redis", "filesystem", "null", "", 5, True, b"redis", ["redis"], redis.Redis, MemoryStore()],
    "SESSION_REDIS": [
        5, True, b"redis://localhost", "", "localhost:6379", "localhost", "http://localhost", "sqlite:///x", "memory://",
        {"host": "localhost"}, object(), redis.Redis, MemoryStore(), MemoryStore, Path("x"), "redis://localhost:port",
        "redis://localhost:99999", "redis://[::1",
    ],
    "SESSION_STORE": [
        5, True, b"sqlite:///", "", "sqlite", "sqlite://file.db", "sqlite:///x?mode=ro", "sqlite:///x?synchronous=off",
        "mysql://localhost", "redis:/localhost", "file:///x", object(), MemoryStore, Path("x"), {},
        redis.Redis(), "redis://localhost:port", "redis://[::1",
    ],
}  # fmt: skip


def shown(value: Any) -> str:
    """Return a test's name for a value: the same in every process, as pytest-xdist wants it."""
    plain = type(value) in (str, int, float, bool, bytes, list, dict, timedelta, type(None))
    return repr(value)[:40] if plain else type(value).__name__


HINTS = ("must ", "begins with", "is no ", "write ", "the only one is", "give it")


class TestValues:
    """What each setting may be."""

    @pytest.mark.parametrize(("name", "value", "where", "expected"), ACCEPTED, ids=shown)
    def test_accepted(
        self, name: str, value: Any, where: Callable[[SessionSettings], Any], expected: Any, tmp_path: Path
    ) -> None:
        """A right value is taken, and means what it says."""
        assert where(read(tmp_path, **{name: value})) == expected

    @pytest.mark.parametrize(
        ("name", "value"),
        [(name, value) for name, values in REFUSED.items() for value in values],
        ids=shown,
    )
    def test_refused(self, name: str, value: Any, tmp_path: Path) -> None:
        """A wrong value is an error at Session(app), which names the setting and says what would be right."""
        error = refused(tmp_path, **{name: value})
        assert error.setting == name
        assert any(hint in str(error).lower() for hint in HINTS)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("SESSION_ENCRYPTION", SECRET),
            ("SESSION_ID_LENGTH", SECRET),
            ("SESSION_KEY_PREFIX", b"x"),
            ("SESSION_MERGE", SECRET),
        ],
    )
    def test_the_type_of_a_wrong_value_is_named(self, name: str, value: Any, tmp_path: Path) -> None:
        """The value itself is not, where it might be a secret in the wrong place (a key for SESSION_ENCRYPTION …)."""
        what_is_wrong, _, _ = str(refused(tmp_path, **{name: value})).partition(". In an environment variable")
        assert what_is_wrong.endswith(type(value).__name__)

    @pytest.mark.parametrize("value", [15, 15.5, True])
    def test_a_wrong_number_is_shown(self, value: Any, tmp_path: Path) -> None:
        """With its type, because True and 1 look alike in a configuration file."""
        assert str(refused(tmp_path, SESSION_ID_LENGTH=value)).endswith(f"not {value} ({type(value).__name__})")

    def test_every_setting_is_tested_here(self) -> None:
        """A new setting gets its lines in both tables."""
        assert set(DEFAULTS) <= set(REFUSED)
        others = {"SESSION_STORE", "SESSION_TYPE", "SESSION_REDIS", "SESSION_KEY_PREFIX"}  # see TestStore
        assert set(DEFAULTS) - others <= {name for name, *_ in ACCEPTED}
        flasks = {name for name in Flask.default_config if "SESSION" in name}
        assert flasks <= set(REFUSED)
        assert flasks - {"SESSION_COOKIE_NAME"} <= {name for name, *_ in ACCEPTED}

    def test_the_same_by_cloakroom_and_init_app(self, tmp_path: Path) -> None:
        """All ways to set it up check."""
        for set_up in (Cloakroom, Session, Cloakroom().init_app, Session().init_app):
            with pytest.raises(
                SettingError, match=r"^SESSION_ID_LENGTH: must be a whole number, from 16 to 64, not 1 "
            ):
                set_up(make_app(tmp_path, SESSION_ID_LENGTH=1))

    def test_is_a_value_error(self, tmp_path: Path) -> None:
        """For those who catch that."""
        assert isinstance(refused(tmp_path, SESSION_ID_LENGTH=1), ValueError)

    def test_refresh_after_fits_the_idle_timeout(self, tmp_path: Path) -> None:
        """By default a tenth of it ten minutes at most; never as long as itself, or sessions would end early."""
        for idle, expected in ((timedelta(days=31), 600), (600, 60), (5, 0), (1, 0)):
            assert read(tmp_path, PERMANENT_SESSION_LIFETIME=idle).lifetimes.refresh_after == expected
        error = refused(tmp_path, PERMANENT_SESSION_LIFETIME=60, SESSION_REFRESH_AFTER=60)
        assert error.setting == "SESSION_REFRESH_AFTER"
        assert "PERMANENT_SESSION_LIFETIME" in str(error)

    @pytest.mark.parametrize("missing", [*Flask.default_config])
    def test_a_setting_of_flask_that_was_deleted(self, missing: str, tmp_path: Path) -> None:
        """Is an error that names it, or is not needed; never a KeyError."""
        app = make_app(tmp_path)
        del app.config[missing]
        try:
            Session(app)
        except SettingError as error:
            assert error.setting == missing  # noqa: PT017  most need none


class TestCookie:
    """The rules of browsers, which drop a cookie that breaks them without a word."""

    @pytest.mark.parametrize("name", ["__Host-session", "__host-session", "__Secure-session", "__SECURE-session"])
    def test_a_prefix_makes_it_secure(self, name: str, tmp_path: Path) -> None:
        """Without that, browsers refuse it; so nobody needs to say it twice. In whatever case."""
        assert read(tmp_path, SESSION_COOKIE_NAME=name).cookie.secure

    @pytest.mark.parametrize("name", ["__Host-session", "__HOST-session"])
    @pytest.mark.parametrize(
        ("setting", "value"),
        [("SESSION_COOKIE_DOMAIN", "example.org"), ("SESSION_COOKIE_PATH", "/shop"), ("APPLICATION_ROOT", "/shop")],
    )
    def test_host_prefix(self, name: str, setting: str, value: str, tmp_path: Path) -> None:
        """Browsers refuse it with a domain or another path; the error names the setting that says so."""
        error = refused(tmp_path, SESSION_COOKIE_NAME=name, **{setting: value})
        assert error.setting == setting
        assert name in str(error)

    def test_host_prefix_in_an_application_with_a_root(self, tmp_path: Path) -> None:
        """Works when the path is set to "/" on purpose."""
        settings = read(
            tmp_path, SESSION_COOKIE_NAME="__Host-session", APPLICATION_ROOT="/shop", SESSION_COOKIE_PATH="/"
        )
        assert settings.cookie.path == "/"

    def test_secure_prefix_may_have_a_domain_and_a_path(self, tmp_path: Path) -> None:
        """Unlike __Host-."""
        config = {"SESSION_COOKIE_DOMAIN": "example.org", "SESSION_COOKIE_PATH": "/shop"}
        assert read(tmp_path, SESSION_COOKIE_NAME="__Secure-session", **config).cookie.secure

    @pytest.mark.parametrize("samesite", ["None", "none", "NONE"])
    def test_samesite_none_needs_secure(self, samesite: str, tmp_path: Path) -> None:
        """Browsers refuse it otherwise; a prefix or PARTITIONED makes it secure as well."""
        error = refused(tmp_path, SESSION_COOKIE_SAMESITE=samesite)
        assert error.setting == "SESSION_COOKIE_SAMESITE"
        assert "SESSION_COOKIE_SECURE = True" in str(error)
        for more in (
            {"SESSION_COOKIE_SECURE": True},
            {"SESSION_COOKIE_PARTITIONED": True},
            {"SESSION_COOKIE_NAME": "__Host-s"},
        ):
            assert read(tmp_path, SESSION_COOKIE_SAMESITE=samesite, **more).cookie.samesite == "None"

    @pytest.mark.parametrize(
        ("config", "parts"),
        [
            ({}, {"Path=/", "HttpOnly", "SameSite=Lax"}),
            ({"SESSION_COOKIE_HTTPONLY": False}, {"Path=/", "SameSite=Lax"}),
            ({"SESSION_COOKIE_NAME": "__Host-s"}, {"Path=/", "HttpOnly", "SameSite=Lax", "Secure"}),
            (
                {"SESSION_COOKIE_PARTITIONED": True, "SESSION_COOKIE_SAMESITE": "none"},
                {"Path=/", "HttpOnly", "SameSite=None", "Secure", "Partitioned"},
            ),
            (
                {"SESSION_COOKIE_DOMAIN": "example.org", "SESSION_COOKIE_SAMESITE": "Strict", "APPLICATION_ROOT": "/a"},
                {"Path=/a", "HttpOnly", "SameSite=Strict", "Domain=example.org"},
            ),
        ],
    )
    def test_what_the_browser_gets(self, config: dict[str, Any], parts: set[str], tmp_path: Path) -> None:
        """Exactly the attributes that were asked for, when it is set and when it is deleted."""
        app = make_app(tmp_path, SESSION_STORE=MemoryStore(), **config)
        Session(app)

        @app.get("/end")
        def end() -> str:
            session.clear()
            return ""

        client = app.test_client(use_cookies=False)
        written = client.get("/write", base_url="https://example.org")
        ticket = set_cookie(written).partition(";")[0]
        ended = client.get("/end", base_url="https://example.org", headers={"Cookie": ticket})
        for response in (written, ended):
            found = {part.strip() for part in set_cookie(response).split(";")[1:]}
            assert {part for part in found if not part.startswith(("Expires", "Max-Age"))} == parts


class TestMisspelled:
    """A setting that nobody reads is a setting that is not in force."""

    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            ("SESSION_COOKIE_SECUR", "SESSION_COOKIE_SECURE"),
            ("SESSION_COOKIES_SECURE", "SESSION_COOKIE_SECURE"),
            ("SESSION_COOKIE_HTTP_ONLY", "SESSION_COOKIE_HTTPONLY"),
            ("SESSION_COOKIE_SAME_SITE", "SESSION_COOKIE_SAMESITE"),
            ("SESSION_ENCRYPT", "SESSION_ENCRYPTION"),
            ("SESSION_ABSOLUTE_LIFETIMES", "SESSION_ABSOLUTE_LIFETIME"),
            ("SESSION_KEYPREFIX", "SESSION_KEY_PREFIX"),
            ("SESSION_STORES", "SESSION_STORE"),
            ("SESSION_REFRESH_EACH_REQUESTS", "SESSION_REFRESH_EACH_REQUEST"),
            ("PERMANENT_SESSION_LIFETIMES", "PERMANENT_SESSION_LIFETIME"),
        ],
    )
    def test_near_misses_warn(self, written: str, meant: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """With the name that was meant, and without the value."""
        with caplog.at_level(logging.WARNING):
            read(tmp_path, **{written: SECRET})
        assert caplog.messages == [f"{written} is not a setting; did you mean {meant}?"]

    def test_others_do_not(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Neither known ones, nor Flask-Session's for other stores, nor somebody's own."""
        names = [*DEFAULTS, *Flask.default_config, "SESSION_FILE_DIR", "SESSION_MONGODB_DB", "SESSION_SQLALCHEMY"]
        app = make_app(tmp_path)
        app.config.update(dict.fromkeys({*names, "MY_SESSION", "SESSIONS_PER_DAY"} - app.config.keys(), SECRET))
        app.config.update(DEFAULTS)
        with caplog.at_level(logging.WARNING):
            Session(app)
        assert caplog.messages == []

    @pytest.mark.parametrize(
        "name", ["SESSION_USE_SIGNER", "SESSION_SERIALIZATION_FORMAT", "SESSION_CLEANUP_N_REQUESTS"]
    )
    def test_what_is_no_longer_needed_says_why(
        self, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """For those who come from Flask-Session."""
        with caplog.at_level(logging.INFO):
            read(tmp_path, **{name: True})
        assert [message.partition(":")[0] for message in caplog.messages] == [f"{name} has no effect"]


class TestStore:
    """Which of the four settings decides where sessions are kept."""

    def store(self, folder: Path, **config: Any) -> Any:
        return read(folder, **config).make_store()

    def test_sqlite_is_the_default(self, tmp_path: Path) -> None:
        """One file in the instance folder, which is not made before the first session."""
        store = self.store(tmp_path)
        assert isinstance(store, SQLiteStore)
        assert store.path == tmp_path / "instance" / "sessions.sqlite3"
        assert not (tmp_path / "instance").exists()

    def test_by_type(self, tmp_path: Path) -> None:
        """Flask-Session's name for it."""
        assert isinstance(self.store(tmp_path, SESSION_TYPE="memory"), MemoryStore)
        assert isinstance(self.store(tmp_path, SESSION_TYPE="sqlite"), SQLiteStore)
        assert str(self.store(tmp_path, SESSION_TYPE="redis")) == "Redis (localhost:6379/0)"

    def test_by_url(self, tmp_path: Path) -> None:
        """SESSION_STORE, in words."""
        for url, words in {
            "memory://": "memory of this process",
            "sqlite:///mine.db": "SQLite (mine.db)",
            "redis://cache.example:7000/3": "Redis (cache.example:7000/3)",
            f"redis://:{SECRET}@cache.example/3": "Redis (cache.example:6379/3)",
            "unix:///run/redis.sock": "Redis (/run/redis.sock/0)",
            "valkey://cache.example": "Redis (cache.example:6379/0)",
        }.items():
            assert str(self.store(tmp_path, SESSION_STORE=url)) == words

    def test_by_object(self, tmp_path: Path) -> None:
        """A store is used as it is, and is its owner's to close."""
        store = MemoryStore()
        assert self.store(tmp_path, SESSION_STORE=store) is store

    def test_one_memory_store_per_application(self, tmp_path: Path) -> None:
        """Not one for all of a process."""
        apps = [make_app(tmp_path, SESSION_TYPE="memory") for _ in range(2)]
        for app in apps:
            Session(app)
        assert len({id(app.session_interface.store) for app in apps}) == 2  # type: ignore[attr-defined]
        assert apps[0].session_interface.store is apps[0].session_interface.store  # type: ignore[attr-defined]

    @pytest.mark.parametrize("client_class", [redis.Redis, valkey.Valkey, fakeredis.FakeStrictRedis])
    def test_by_client(self, client_class: Any, tmp_path: Path) -> None:
        """SESSION_REDIS takes a client of any driver, and with one, SESSION_TYPE need not be said."""
        for config in ({}, {"SESSION_TYPE": "redis"}):
            assert isinstance(self.store(tmp_path, SESSION_REDIS=client_class(), **config), RedisStore)

    @pytest.mark.parametrize(
        ("config", "words"),
        [
            ({"SESSION_REDIS": "redis://a", "REDIS_URL": "redis://b"}, "Redis (a:6379/0)"),
            ({"SESSION_TYPE": "redis", "SESSION_REDIS": "redis://a", "REDIS_URL": "redis://b"}, "Redis (a:6379/0)"),
            ({"SESSION_TYPE": "redis", "REDIS_URL": "redis://b"}, "Redis (b:6379/0)"),
            ({"SESSION_TYPE": "redis", "REDIS_URL": ""}, "Redis (localhost:6379/0)"),
            ({"REDIS_URL": "redis://b"}, "Redis (b:6379/0)"),
            ({"REDIS_URL": ""}, "SQLite (sessions.sqlite3)"),
            ({"SESSION_TYPE": "sqlite", "REDIS_URL": "redis://b"}, "SQLite (sessions.sqlite3)"),
            ({"SESSION_TYPE": "memory", "SESSION_REDIS": "redis://a"}, "memory of this process"),
            ({"SESSION_STORE": "memory://", "REDIS_URL": "redis://b"}, "memory of this process"),
            ({"SESSION_STORE": "sqlite:///s.db", "SESSION_REDIS": "redis://a"}, "SQLite (s.db)"),
        ],
    )
    def test_precedence(self, config: dict[str, Any], words: str, tmp_path: Path) -> None:
        """SESSION_STORE, then SESSION_TYPE, then SESSION_REDIS, then REDIS_URL."""
        assert str(self.store(tmp_path, **config)) == words

    def test_two_that_contradict(self, tmp_path: Path) -> None:
        """SESSION_STORE and SESSION_TYPE together leave open what was meant."""
        error = refused(tmp_path, SESSION_STORE="memory://", SESSION_TYPE="redis")
        assert error.setting == "SESSION_STORE"
        assert "SESSION_TYPE" in str(error)

    def test_the_setting_that_is_wrong_is_named(self, tmp_path: Path) -> None:
        """Not another one that could have been used."""
        for value in ("http://x", "redis://x:port", 5, object()):
            assert refused(tmp_path, SESSION_TYPE="redis", REDIS_URL=value).setting == "REDIS_URL"
            assert refused(tmp_path, SESSION_TYPE="redis", SESSION_REDIS=value).setting == "SESSION_REDIS"
            assert refused(tmp_path, SESSION_STORE=value).setting == "SESSION_STORE"

    @pytest.mark.parametrize(
        "url",
        [
            f"redis://:{SECRET}/x@host:6379/0",
            f"redis://user:{SECRET}#x@host:6379/0",
            f"redis://:{SECRET}?@host:6379/0",
            f"redis://:{SECRET}@host:port/0",
            f"redis://:{SECRET}@ho℀st:6379/0",
            f"redis://:{SECRET}@[host:6379/0",
            f"redis://:{SECRET}@host:99999/0",
            f"redis://:{SECRET}@host/0?socket_timeout={SECRET}",
            f"rediss://:{SECRET}@host:port",
            f"valkey://:{SECRET}@host:port",
            f"http://:{SECRET}@host",
            f"redis:/:{SECRET}@host",
            f"{SECRET}",
        ],
    )
    def test_no_password_in_an_error(self, url: str, tmp_path: Path) -> None:
        """Neither in its text nor in those of the errors that led to it, which a traceback shows."""
        for config in (
            {"SESSION_STORE": url},
            {"SESSION_REDIS": url},
            {"SESSION_TYPE": "redis", "SESSION_REDIS": url},
            {"SESSION_TYPE": "redis", "REDIS_URL": url},
            {"SESSION_TYPE": url},
        ):
            refused(tmp_path, **config)

    def test_an_asyncio_client(self, tmp_path: Path) -> None:
        """Its commands would return coroutines that nobody awaits."""
        for client in (redis.asyncio.Redis(), redis.asyncio.Redis.from_url(f"redis://:{SECRET}@host")):
            error = refused(tmp_path, SESSION_REDIS=client)
            assert error.setting == "SESSION_REDIS"
            assert "Pass the synchronous client" in str(error)
            asyncio.run(client.aclose())

    def test_what_a_store_lacks_is_named(self, tmp_path: Path) -> None:
        """An object that is nearly a store."""

        class Half:
            def load(self, key: bytes) -> None:
                return None

            def delete(self, key: bytes) -> bool:
                return False

        assert "Half has no create, replace, touch()" in str(refused(tmp_path, SESSION_STORE=Half()))

    def test_the_key_prefix(self, tmp_path: Path) -> None:
        """Stands before every key in Redis."""
        store = self.store(tmp_path, SESSION_TYPE="redis", SESSION_KEY_PREFIX="shop:")
        assert store._key(b"\x01") == b"shop:01"
        assert self.store(tmp_path, SESSION_REDIS=redis.Redis(), SESSION_KEY_PREFIX="")._key(b"\x01") == b"01"

    @pytest.mark.parametrize(
        "config", [{"SESSION_TYPE": "redis"}, {"SESSION_STORE": "redis://h"}, {"SESSION_REDIS": "valkey://h"}]
    )
    def test_without_a_driver(self, config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error says what to install. A driver that is there is enough, whichever it is."""
        monkeypatch.setitem(sys.modules, "redis", None)
        assert type(self.store(tmp_path, **config).connector.client).__module__.startswith("valkey")
        monkeypatch.setitem(sys.modules, "valkey", None)
        assert "pip install flask-cloakroom[redis]" in str(refused(tmp_path, **config))

    def test_without_cryptography(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """SESSION_ENCRYPTION says what to install, and sessions don't quietly stay in the clear."""
        monkeypatch.setitem(sys.modules, "cryptography", None)
        error = refused(tmp_path, SESSION_ENCRYPTION=True)
        assert error.setting == "SESSION_ENCRYPTION"
        assert "pip install flask-cloakroom[encryption]" in str(error)
        assert not read(tmp_path, SESSION_ENCRYPTION=False).encrypt

    def test_nothing_is_opened_at_start(self, tmp_path: Path) -> None:
        """No connection and no file: an application starts while its store is still starting."""
        read(tmp_path, SESSION_STORE="redis://192.0.2.1:1/0", SESSION_STORE_TIMEOUT=60)
        read(tmp_path)
        assert list(tmp_path.iterdir()) == []


class TestWhenItIsRead:
    """Checked at Session(app), read again at the first request, fixed after that."""

    def test_what_is_set_between_start_and_the_first_request_counts(self, tmp_path: Path) -> None:
        """Applications often load a part of their configuration after their extensions."""
        app = make_app(tmp_path)
        Session(app)
        app.config.update(SESSION_TYPE="memory", SESSION_COOKIE_NAME="later", PERMANENT_SESSION_LIFETIME=60)
        header = set_cookie(app.test_client().get("/write"))
        assert header.startswith("later=")
        assert "Max-Age=60;" in header
        assert str(app.session_interface.store) == "memory of this process"  # type: ignore[attr-defined]
        assert not (tmp_path / "instance").exists()

    def test_what_is_set_after_it_does_not(self, tmp_path: Path) -> None:
        """Half of a session's life by one setting and half by another helps nobody."""
        app = make_app(tmp_path, SESSION_TYPE="memory")
        Session(app)
        client = app.test_client()
        client.get("/write")
        app.config.update(SESSION_TYPE="nonsense", SESSION_COOKIE_NAME="later")
        assert client.get("/write").text == "2"

    def test_a_wrong_value_set_in_between(self, tmp_path: Path) -> None:
        """Is the same error, at the first request."""
        app = make_app(tmp_path, SESSION_TYPE="memory")
        app.testing = True
        Session(app)
        app.config["SESSION_ID_LENGTH"] = 1
        with pytest.raises(SettingError, match="SESSION_ID_LENGTH"):
            app.test_client().get("/write")

    def test_one_object_for_two_applications(self, tmp_path: Path) -> None:
        """Each keeps its own settings: state belongs to the application."""
        sessions = Session()
        apps = [make_app(tmp_path, SESSION_TYPE="memory", SESSION_COOKIE_NAME=name) for name in ("one", "two")]
        for app in apps:
            sessions.init_app(app)
        assert [set_cookie(app.test_client().get("/write")).partition("=")[0] for app in apps] == ["one", "two"]

    def test_the_environment_is_not_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Only ``app.config`` counts; who wants variables loads them there (``from_prefixed_env``)."""
        monkeypatch.setenv("SESSION_TYPE", "memory")
        monkeypatch.setenv("REDIS_URL", "redis://example.org")
        assert isinstance(read(tmp_path).make_store(), SQLiteStore)
        monkeypatch.setenv("FLASK_SESSION_ID_LENGTH", "16")
        app = make_app(tmp_path)
        app.config.from_prefixed_env()
        Session(app)
        assert len(app.session_interface.settings.tickets.issue()) == 22  # type: ignore[attr-defined]
        assert "SESSION_TYPE" in os.environ


class TestFlaskSessionsQuickstart:
    """Configurations as they stand in Flask-Session's documentation, on a real Redis."""

    def visit(self, app: Flask) -> None:
        client = app.test_client()
        assert [client.get("/write").text for _ in range(3)] == ["1", "2", "3"]
        assert str(app.session_interface.store).startswith("Redis")  # type: ignore[attr-defined]

    def test_a_client(self, tmp_path: Path, redis_server: RedisServer) -> None:
        """``SESSION_TYPE = 'redis'; SESSION_REDIS = Redis(…)``; the client stays open and usable."""
        client = redis.Redis(host="127.0.0.1", port=redis_server.port)
        app = make_app(tmp_path, SESSION_TYPE="redis", SESSION_REDIS=client, SECRET_KEY="x", SESSION_USE_SIGNER=True)
        Session(app)
        self.visit(app)
        assert client.ping()
        client.close()

    def test_a_client_from_url(self, tmp_path: Path, redis_server: RedisServer) -> None:
        """``Redis.from_url(…)``, decoding or not."""
        for options in ({}, {"decode_responses": True}):
            client = redis.Redis.from_url(redis_server.url, **options)
            app = make_app(tmp_path, SESSION_TYPE="redis", SESSION_REDIS=client, SESSION_PERMANENT=False)
            Session(app)
            self.visit(app)
            client.close()

    def test_from_object(self, tmp_path: Path, redis_server: RedisServer) -> None:
        """``app.config.from_object(__name__)``, and ``init_app`` of an object that was made before."""

        class Config:
            SESSION_TYPE = "redis"
            SESSION_REDIS = redis_server.url
            SESSION_KEY_PREFIX = "quickstart:"
            SESSION_ID_LENGTH = 32
            SESSION_SERIALIZATION_FORMAT = "msgpack"
            PERMANENT_SESSION_LIFETIME = timedelta(minutes=5)

        sessions = Session()
        app = make_app(tmp_path)
        app.config.from_object(Config)
        sessions.init_app(app)
        self.visit(app)
        with redis.Redis.from_url(redis_server.url) as client:
            assert len(list(client.scan_iter("quickstart:*"))) == 1

    @pytest.mark.parametrize(
        "kind", ["filesystem", "cachelib", "memcached", "mongodb", "sqlalchemy", "dynamodb", "null"]
    )
    def test_types_that_are_not_here_yet(self, kind: str, tmp_path: Path) -> None:
        """Are an error that lists what is, and never another store in their place."""
        error = refused(tmp_path, SESSION_TYPE=kind)
        assert repr(kind) in str(error)
        assert '"sqlite", "redis" or "memory"' in str(error)


class TestEnvironment:
    """What ``app.config.from_prefixed_env()`` makes of environment variables: JSON, and else text."""

    NAMES = (
        *BOOLEANS,
        *(f"REMEMBER_COOKIE_{part}" for part in ("SECURE", "HTTPONLY", "PARTITIONED", "REFRESH_EACH_REQUEST")),
        "REMEMBER_COOKIE_ACCEPT_LEGACY",
        "LOGIN_DISABLED",
        "USE_SESSION_FOR_NEXT",
        "WTF_CSRF_ENABLED",
        "WTF_CSRF_CHECK_DEFAULT",
        "WTF_CSRF_SSL_STRICT",
        "CSRF_REQUIRE_TOKEN",
    )

    def make_app(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> Flask:
        monkeypatch.setenv(f"SITE_{name}", text)
        app = make_app(tmp_path, SESSION_STORE="memory://")
        app.config.from_prefixed_env("SITE")
        Cloakroom(app)
        return app

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize(("text", "means"), [("1", True), ("true", True), ("0", False), ("false", False)])
    def test_yes_and_no(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, means: bool
    ) -> None:
        """A number is as good as the word, for each setting that is True or False."""
        app = self.make_app(tmp_path, monkeypatch, name, text)
        assert Reader(app.config).boolean(name) is means

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("text", ["True", "False", "yes", "2", "-1", "1.0", "null", "[]"])
    def test_anything_else(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
        """Is an error that names the setting, and says what to write where it is a text."""
        if text == "null" and name in ("REMEMBER_COOKIE_SECURE", "REMEMBER_COOKIE_PARTITIONED"):
            pytest.skip("None is the session cookie's")
        with pytest.raises(SettingError, match=f"^{name}: must be True or False") as caught:
            self.make_app(tmp_path, monkeypatch, name, text)
        if text.isalpha() and text != "null":
            assert "In an environment variable write true, false, 1 or 0" in str(caught.value)

    def test_cookies_are_secure(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The session's, and the one that remembers a login, which takes it from there."""
        app = self.make_app(tmp_path, monkeypatch, "SESSION_COOKIE_SECURE", "1")
        assert "Secure" in app.test_client().get("/write").headers["Set-Cookie"]
        assert login_settings_of(app).cookie.secure is True
