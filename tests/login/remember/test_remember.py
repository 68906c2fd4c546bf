"""Remembered logins over both kinds of session, and signed remember tokens."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from itsdangerous import URLSafeSerializer

from flask_cloakroom import LoginManager, SettingError, decode_cookie, encode_cookie, user_loaded_from_cookie
from flask_cloakroom.core.clock import CLOCK_SKEW
from flask_cloakroom.core.entries.ownership import UNDESCRIBED, NewLogin, Ownership
from flask_cloakroom.login.in_session.session_login import auth_hash_of
from flask_cloakroom.login.remember.signed import SignedTokens
from flask_cloakroom.login.remember.tokens import LONGEST_TOKEN, Remembered, RememberTokens, Used
from support.sites.login import Browser, MakeSite, Site

SECRETS = {"SECRET_KEY": "another key that is long enough", "SECRET_KEY_FALLBACKS": ["a key that is long enough"]}


def cookie_of(response: Any) -> str:
    """Return the Set-Cookie header of the remember cookie, "" if there is none."""
    return next((header for header in response.headers.getlist("Set-Cookie") if "remember_token=" in header), "")


class TestRemembering:
    """What the visitor sees."""

    def test_only_if_wanted(self, site: Site) -> None:
        """A plain login sets no remember cookie."""
        assert "remember_token" not in site.browser("alice").cookies

    def test_logs_in_again(self, site: Site) -> None:
        """With nothing but the token the visitor is logged in, not freshly, with a session that goes on without it."""
        browser = site.browser("alice", remember=True).copy("remember_token")
        heard: list[Any] = []
        with user_loaded_from_cookie.connected_to(lambda sender, user: heard.append(user.id)):
            assert browser.text("/how") == "fresh=False remembered=True"
            assert browser.who == "alice"
        assert heard == ["alice"]
        assert browser.open("/secret").status_code == 401
        assert browser.copy("session").who == "alice"

    def test_the_session_of_before_stays_closed(self, server_site: Site) -> None:
        """The session that a token begins has a new id, also where the visitor had a cart without a login."""
        browser = server_site.browser("alice", remember=True).copy("remember_token")
        anonymous = server_site.browser()
        anonymous.open("/cart/apple")
        browser.client.set_cookie("session", anonymous.cookies["session"])
        assert browser.who == "alice"
        assert browser.open("/contents").json == {"cart": ["apple"]}
        assert anonymous.who == "nobody"

    def test_logout_forgets(self, site: Site) -> None:
        """The cookie is deleted, and the browser is nobody's."""
        browser = site.browser("alice", remember=True)
        browser.open("/logout")
        assert browser.cookies.keys() & {"remember_token"} == set()
        assert browser.who == "nobody"

    def test_another_user_without_remembering(self, site: Site) -> None:
        """Bob logs in where Alice was remembered: when his session is over, the browser is not Alice's again."""
        browser = site.browser("alice", remember=True)
        browser.login("bob")
        assert browser.cookies.keys() == {"session"}

    def test_a_duration_of_its_own(self, make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
        """REMEMBER_COOKIE_DURATION is enforced by the server, from the time in the token, and not by the browser."""
        site = make_site("cookie", REMEMBER_COOKIE_DURATION=timedelta(minutes=10))
        browser = site.browser("alice", remember=True)
        now = time.time()
        monkeypatch.setattr(SignedTokens.__init__, "__kwdefaults__", {"clock": lambda: now + 595})
        assert browser.copy("remember_token").who == "alice"
        monkeypatch.setattr(SignedTokens.__init__, "__kwdefaults__", {"clock": lambda: now + 605})
        assert browser.copy("remember_token").who == "nobody"

    @pytest.mark.parametrize("age", [0, 70])
    def test_refresh_each_request(self, make_site: MakeSite, age: int) -> None:
        """REMEMBER_COOKIE_REFRESH_EACH_REQUEST: once a tenth of its life has passed, the token is issued anew."""
        site = make_site("cookie", REMEMBER_COOKIE_REFRESH_EACH_REQUEST=True, REMEMBER_COOKIE_DURATION=600)
        browser = site.browser("alice", remember=True)
        old = SignedTokens(site.app, clock=lambda: time.time() - age)
        claimed = SignedTokens(site.app).resolve(browser.cookies["remember_token"])
        assert claimed
        token = old.issue("alice", claimed.auth_hash, 600)
        browser.client.set_cookie("remember_token", token)
        browser.open("/alone")
        assert browser.cookies["remember_token"] == token
        browser.open("/who")
        assert (browser.cookies["remember_token"] != token) is (age > 60)

    def test_refresh_makes_no_token(self, make_site: MakeSite, kind: str) -> None:
        """Who did not want to be remembered is not, in that mode either."""
        site = make_site(kind, REMEMBER_COOKIE_REFRESH_EACH_REQUEST=True)
        browser = site.browser("alice")
        browser.open("/who")
        assert browser.cookies.keys() == {"session"}

    @pytest.mark.parametrize(("user_id", "auth_hash"), [("bob", None), ("alice", "of an old password")])
    def test_refresh_is_for_good_tokens(self, make_site: MakeSite, user_id: str, auth_hash: str | None) -> None:
        """A token of another user, or of before the password was changed, does not live longer by somebody's visit."""
        site = make_site("cookie", REMEMBER_COOKIE_REFRESH_EACH_REQUEST=True)
        browser = site.browser("alice")
        old = SignedTokens(site.app, clock=lambda: time.time() - 3000)
        digest = auth_hash_of(site.users[user_id]) if auth_hash is None else auth_hash
        token = old.issue(user_id, digest, 9000)
        browser.client.set_cookie("remember_token", token)
        assert browser.who == "alice"
        assert browser.cookies["remember_token"] == token

    def test_switched_off(self, site: Site) -> None:
        """An account that is switched off is not logged in by a token."""
        browser = site.browser("alice", remember=True).copy("remember_token")
        site.users["alice"].active = False
        assert browser.who == "nobody"

    def test_of_a_forced_login(self, site: Site) -> None:
        """Nor if the login was forced."""
        site.users["alice"].active = False
        assert site.browser("alice", remember=True, force=True).copy("remember_token").who == "nobody"

    def test_password_changed(self, site: Site) -> None:
        """CVE-2023-40273, CVE-2024-42447, CVE-2026-48726: it ends with the hash that it was issued for."""
        browser = site.browser("alice", remember=True).copy("remember_token")
        site.users["alice"].password_hash = "argon2:second"
        assert browser.who == "nobody"
        assert "remember_token" not in browser.cookies


class TestCookie:
    """The cookie's attributes, and the responses that carry it."""

    def test_by_default(self, site: Site) -> None:
        """As the session's: HttpOnly, Lax, on the application's path."""
        header = cookie_of(site.browser().open("/login?user=alice&remember=1"))
        assert {part.strip() for part in header.split(";")[1:]} >= {"HttpOnly", "Path=/", "SameSite=Lax"}
        assert "Max-Age=31536000" in header

    def test_is_never_weaker_than_the_sessions(self, make_site: MakeSite, kind: str) -> None:
        """Secure, SameSite and the path are those of the session's cookie; CVE-2026-28779: the application's root."""
        settings = {"SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_SAMESITE": "Strict", "APPLICATION_ROOT": "/shop"}
        site = make_site(kind, **settings)
        header = cookie_of(site.browser().open("/login?user=alice&remember=1"))
        assert {part.strip() for part in header.split(";")} >= {"Secure", "SameSite=Strict", "Path=/shop"}

    @pytest.mark.parametrize("path", ["/login?user=alice&remember=1", "/logout"])
    def test_is_never_cached(self, site: Site, path: str) -> None:
        """CVE-2023-30861: with Set-Cookie goes Vary: Cookie, and no cache may keep it, whatever the view says."""

        @site.app.after_request
        def make_public(response: Any) -> Any:
            response.cache_control.public = True
            return response

        response = site.browser("alice", remember=True).open(path)
        assert cookie_of(response)
        assert "Cookie" in response.headers["Vary"]
        assert response.cache_control.no_store
        assert not response.cache_control.public

    def test_is_deleted_as_it_was_set(self, make_site: MakeSite, kind: str) -> None:
        """With its domain, path and attributes, or browsers keep it."""
        settings = {"REMEMBER_COOKIE_NAME": "__Host-remember", "SESSION_COOKIE_SECURE": True}
        site = make_site(kind, **settings)
        options = {"base_url": "https://localhost"}
        client = site.app.test_client()
        login = client.get("/login?user=alice&remember=1", **options)
        logout = client.get("/logout", **options)
        set_it, deleted = (
            next(one for one in response.headers.getlist("Set-Cookie") if "__Host-remember" in one)
            for response in (login, logout)
        )
        assert "Max-Age=0" in deleted
        for attribute in ("Secure", "HttpOnly", "Path=/", "SameSite=Lax"):
            assert attribute in set_it
            assert attribute in deleted


class TestForgery:
    """What logs nobody in."""

    @pytest.mark.parametrize(
        "token",
        [
            "",
            "x",
            "alice",
            "alice|" + "0" * 128,
            "WzEsImFsaWNlIiwxLDk5OTk5OTk5OTksIiJd.AAAA",
            "." * 3000,
            "A" * 5000,
            "e30." + "A" * 27,
            ".eJyrVkrLz1eyUlBKSixSqgUAJAcFHg.AAAA",
            "\u00e4" * 10,
        ],
    )
    def test_junk(self, site: Site, token: str) -> None:
        """Logs nobody in, is no error, and stores nothing."""
        headers = {"Cookie": f"remember_token={token}".encode().decode("latin1")}
        response = site.app.test_client(use_cookies=False).get("/who", headers=headers)
        assert (response.status_code, response.text) == (200, "nobody")
        assert "Set-Cookie" not in response.headers

    def test_every_changed_character(self, make_site: MakeSite) -> None:
        """A token in which one character is another one."""
        site = make_site("cookie")
        token = site.browser("alice", remember=True).cookies["remember_token"]
        with site.app.app_context():
            tokens = SignedTokens(site.app)
            assert tokens.resolve(token)
            for place, character in enumerate(token[:-1]):  # of the last one some bits may count for nothing
                changed = token[:place] + ("A" if character != "A" else "B") + token[place + 1 :]
                assert tokens.resolve(changed) is None

    @pytest.mark.parametrize(
        "contents",
        [
            [2, "alice", 0, 9999999999, ""],
            [1, 5, 0, 9999999999, ""],
            [1, "alice", "0", 9999999999, ""],
            [1, "alice", 0, 9999999999, None],
            [1, "alice", 0, 9999999999],
            {"user": "alice"},
            "alice",
            None,
        ],
    )
    def test_other_contents(self, site: Site, contents: Any) -> None:
        """Well signed, and not what a token says."""
        good = SignedTokens(site.app)
        token = good._serializer(["a key that is long enough"]).dumps(contents)
        assert good.resolve(str(token)) is None

    def test_from_the_future(self, site: Site) -> None:
        """Clocks may differ a little, and not more."""
        token = SignedTokens(site.app, clock=lambda: 1_000_000).issue("alice", "", 600)
        for now, good in [(1_000_000 - CLOCK_SKEW, True), (1_000_000 - CLOCK_SKEW - 1, False), (1_000_600, False)]:
            assert (SignedTokens(site.app, clock=lambda now=now: now).resolve(token) is not None) is good  # type: ignore[misc]

    def test_flasks_own_signature(self, site: Site) -> None:
        """What the application signs with the same key for something else is no token."""
        token = str(URLSafeSerializer("a key that is long enough").dumps([1, "alice", int(time.time()), 600, ""]))
        assert SignedTokens(site.app).resolve(token) is None

    def test_of_another_application(self, make_site: MakeSite) -> None:
        """CVE-2020-17526: one site's token is not valid on another with the same secret, nor with another namespace."""
        site, other = make_site(), make_site()
        other.app.config["SESSION_NAMESPACE"] = "another"
        token = SignedTokens(site.app).issue("alice", "", 600)
        assert SignedTokens(site.app).resolve(token)
        assert SignedTokens(other.app).resolve(token) is None

    def test_flask_logins_cookie(self, site: Site) -> None:
        """An id with a signature that never ends and nobody can revoke (#395, #600, #824) is not taken."""
        with site.app.app_context():
            cookie = encode_cookie("alice")
        assert Browser(site, {"remember_token": cookie}).who == "nobody"

    def test_a_cookie_from_a_sibling_domain(self, site: Site) -> None:
        """CVE-2016-7401, CVE-2023-23934: an injected or nameless cookie satisfies nothing, and hides nothing."""
        token = site.browser("alice", remember=True).cookies["remember_token"]
        headers = {"Cookie": f"remember_token=junk; =remember_token={token}x; remember_token={token}"}
        assert site.app.test_client(use_cookies=False).get("/who", headers=headers).text == "alice"
        headers = {"Cookie": f"=remember_token={token}; xremember_token={token}; a=b, remember_token={token}"}
        assert site.app.test_client(use_cookies=False).get("/who", headers=headers).text == "nobody"


class TestKeys:
    """SECRET_KEY and its fallbacks."""

    def test_an_old_key_is_honoured(self, make_site: MakeSite) -> None:
        """A token that was signed before the key changed logs in, as long as the key is among the fallbacks."""
        site = make_site("cookie")
        browser = site.browser("alice", remember=True).copy("remember_token")
        site.app.config.update(SECRETS)
        assert browser.copy().who == "alice"
        site.app.config["SECRET_KEY_FALLBACKS"] = []
        assert browser.who == "nobody"

    def test_what_does_not_fit(self, site: Site) -> None:
        """An id for which a cookie is too small is an error, and no cookie that browsers drop."""
        token = SignedTokens(site.app).issue("".join(map(chr, range(0x4E00, 0x4F00))), "a" * 64, 600)
        assert len(token) <= LONGEST_TOKEN
        assert SignedTokens(site.app).resolve(token)
        with pytest.raises(ValueError, match="does not fit"):
            SignedTokens(site.app).issue("".join(map(chr, range(0x4E00, 0x5E00))), "", 600)

    def test_the_present_key_alone_signs(self, make_site: MakeSite) -> None:
        """CVE-2025-47278: what is issued anew is good without the fallbacks, and not with them alone."""
        site = make_site(**SECRETS)
        token = SignedTokens(site.app).issue("alice", "", 600)
        site.app.config["SECRET_KEY_FALLBACKS"] = []
        assert SignedTokens(site.app).resolve(token)
        site.app.config["SECRET_KEY"] = "a key that is long enough"
        assert SignedTokens(site.app).resolve(token) is None

    @pytest.mark.parametrize("key", ["hunter2", "change-me", "Your_Secret_Key", "supersecretkey", b"password"])
    def test_known_and_short_keys(self, make_site: MakeSite, key: Any) -> None:
        """CVE-2023-27524: a key that everybody knows signs nothing and opens nothing, but in debug mode and tests."""
        site = make_site(SECRET_KEY=key, TESTING=True)
        token = SignedTokens(site.app).issue("alice", "", 600)
        assert SignedTokens(site.app).resolve(token)
        site.app.testing = False
        with pytest.raises(SettingError, match=r"^SECRET_KEY: is ") as caught:
            SignedTokens(site.app).issue("alice", "", 600)
        assert str(key) not in str(caught.value)
        assert SignedTokens(site.app).resolve(token) is None

    def test_without_a_key(self, make_site: MakeSite) -> None:
        """Sessions on the server need none, for remembering neither."""
        site = make_site(SECRET_KEY=None)
        browser = site.browser("alice", remember=True)
        assert browser.copy("remember_token").who == "alice"

    def test_signing_needs_a_key(self, make_site: MakeSite) -> None:
        """And where a token is signed, that is said before anything has happened."""
        site = make_site(SECRET_KEY=None)
        site.manager.remember_tokens = SignedTokens
        browser = site.browser("alice")
        site.app.config["PROPAGATE_EXCEPTIONS"] = True
        with pytest.raises(SettingError, match="SECRET_KEY"):
            browser.open("/login?user=bob&remember=1")
        assert browser.who == "alice"
        assert Browser(site, {"remember_token": "e30.AAAA"}).who == "nobody"


class TestEncodeCookie:
    """Flask-Login's functions, for an application's own use."""

    def test_round_trip(self, site: Site) -> None:
        """With the fallbacks for reading, and with a key of one's own."""
        with site.app.app_context():
            cookie = encode_cookie("1|2")
            assert decode_cookie(cookie) == "1|2"
            site.app.config.update(SECRETS)
            assert decode_cookie(cookie) == "1|2"
            assert decode_cookie(encode_cookie("a", key="k"), key="k") == "a"
            assert decode_cookie(encode_cookie("a", key="k")) is None

    @pytest.mark.parametrize("cookie", ["", "|", "a", "a|", "a|\u00e4", "|0", "a|\udcff", "\udcff|0"])
    def test_junk(self, site: Site, cookie: str) -> None:
        """Is None and no error."""
        with site.app.app_context():
            assert decode_cookie(cookie) is None

    @pytest.mark.parametrize("key", [None, "", b""])
    def test_no_key(self, key: Any) -> None:
        """Nothing is signed with an empty key, and nothing is accepted."""
        app = Flask("shop")
        app.config["SECRET_KEY"] = key
        with app.app_context():
            with pytest.raises(RuntimeError, match="SECRET_KEY"):
                encode_cookie("a")
            assert decode_cookie("a|0") is None


class OneUse:
    """Tokens of an application's own: each is good once, and another one takes its place."""

    def __init__(self) -> None:
        self.known: dict[str, Remembered] = {}
        self.revoked: list[str] = []
        self.extended: list[str] = []

    def issue(self, user_id: str, auth_hash: str, lifetime: int, new_login: NewLogin = UNDESCRIBED) -> str:
        token = f"token-{len(self.known)}"
        self.known[token] = Remembered(user_id, auth_hash, 0, lifetime, token)
        return token

    def resolve(self, token: str) -> Remembered | None:
        return self.known.get(token)

    def use(self, remembered: Remembered, auth_hash: str) -> Used:
        made = self.issue(remembered.user_id, auth_hash, remembered.lifetime)
        return Used(made, remembered.lifetime)

    def is_alive(self, remembered: Remembered) -> bool:
        return remembered.token not in self.revoked

    def extend(self, remembered: Remembered) -> str:
        self.extended.append(remembered.token)
        return remembered.token

    def revoke(self, token: str) -> str:
        self.revoked.append(token)
        return ""

    def revoke_login(self, owner: Ownership) -> None:
        self.revoked.append(owner.handle)


def test_tokens_of_ones_own(make_site: MakeSite) -> None:
    """Another kind of token takes the place of ours: the next one is sent, and a logout revokes."""
    site = make_site()
    tokens = OneUse()
    site.manager.remember_tokens = lambda app: tokens
    _: RememberTokens = tokens
    assert isinstance(site.manager, LoginManager)
    browser = site.browser("alice", remember=True).copy("remember_token")
    assert browser.cookies["remember_token"] == "token-0"
    assert browser.who == "alice"
    assert browser.cookies["remember_token"] == "token-1"
    browser.open("/logout")
    assert tokens.revoked[0] == "token-1"
    assert browser.who == "nobody"


def test_tokens_of_ones_own_with_earlier_names(make_site: MakeSite) -> None:
    """An earlier version called ``is_alive()`` another name. Tokens that still have that name are used as before."""

    class Earlier(OneUse):
        def __getattribute__(self, name: str) -> Any:
            if name == "is_alive":
                raise AttributeError(name)
            return super().__getattribute__("is_alive" if name == "stands" else name)

    site = make_site()
    tokens = Earlier()
    site.manager.remember_tokens = lambda app: tokens
    browser = site.browser("alice", remember=True).copy("remember_token")
    assert browser.who == "alice"
    assert browser.cookies["remember_token"] == "token-1"
