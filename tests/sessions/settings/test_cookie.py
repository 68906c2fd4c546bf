"""The settings of the session's cookie, and misspelled settings."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, session

from flask_cloakroom import Session
from flask_cloakroom.sessions.settings import DEFAULTS
from flask_cloakroom.stores.memory import MemoryStore
from support.sites.settings import SECRET, make_app, read, refused, set_cookie


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
