"""Each setting is checked at start, by an error that names it and says what to do."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from flask import Flask

from flask_cloakroom import Cloakroom, Session, SettingError
from flask_cloakroom.core.sessions.session_registry import SessionLimit
from flask_cloakroom.core.values.merge import STRATEGIES
from flask_cloakroom.sessions.settings import DEFAULTS, SessionSettings
from flask_cloakroom.stores.memory import MemoryStore
from support.sites.settings import BOOLEANS, SECRET, make_app, read, refused


class Answer(enum.IntEnum):
    """An int that is no plain one."""

    YES = 1


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


HINTS = ("must ", "begins with", "is no ", "write ", "use only", "give it", "remove ", "set it to")


class TestValues:
    """The valid values of each setting."""

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
