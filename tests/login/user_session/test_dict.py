"""``user_session`` as a dict, for visitors and users, and what each use costs."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from flask_cloakroom import (
    CloakroomError,
    LoginManager,
    SessionTooLargeError,
    SessionValueError,
    SettingError,
    UserKind,
    user_session,
    user_session_discarded,
)
from support.sites.user_session import Browser, MakeSite, Site

WHO = pytest.mark.parametrize("user", [None, "alice"])


def browser_of(site: Site, user: str | None) -> Browser:
    browser = Browser(site)
    if user is not None:
        browser.login(user)
    return browser


@WHO
class TestADict:
    """``user_session`` is used like ``session``, by visitors and by users."""

    @pytest.mark.promise(5)
    def test_what_goes_in_comes_out(self, site: Site, user: str | None) -> None:
        """A value comes back with its type in another request."""
        browser = browser_of(site, user)
        browser.do("user_session['a'] = (1, {2}); user_session.update(b=b'x', c=None)")
        assert (
            browser.do("answer = repr(sorted(user_session.items()))") == "[('a', (1, {2})), ('b', b'x'), ('c', None)]"
        )
        assert browser.do("answer = [len(user_session), 'a' in user_session, 'z' in user_session]") == [3, True, False]

    @pytest.mark.promise(6)
    def test_nested_changes_are_saved(self, site: Site, user: str | None) -> None:
        """A change inside a value is saved without ``modified = True``."""
        browser = browser_of(site, user)
        browser.do("user_session['cart'] = {'items': []}")
        browser.do("user_session['cart']['items'].append(7)")
        assert browser.show() == {"cart": {"items": [7]}}

    def test_deleting(self, site: Site, user: str | None) -> None:
        """``del``, ``pop`` and ``clear`` delete. A missing key is a KeyError with the key."""
        browser = browser_of(site, user)
        browser.do("user_session.update(a=1, b=2, c=3, d=4); session['other'] = 5")
        assert browser.do("del user_session['a']; answer = [user_session.pop('b'), user_session.pop('b', 9)]") == [2, 9]
        assert browser.show() == {"c": 3, "d": 4}
        code = "try: del user_session['zz']\nexcept KeyError as error: answer = str(error)"
        assert browser.do(code) == "'zz'"
        browser.do("user_session.clear()")
        assert browser.show() == {}
        assert browser.do("answer = session['other']") == 5

    def test_it_is_not_the_session(self, site: Site, user: str | None) -> None:
        """One key in ``session`` and in ``user_session`` is two values."""
        browser = browser_of(site, user)
        browser.do("user_session['a'] = 1; session['a'] = 2")
        assert browser.do("answer = [user_session['a'], session['a']]") == [1, 2]

    @pytest.mark.parametrize("key", ["1", "None", "'\\0x'"])
    def test_keys_are_str(self, site: Site, user: str | None, key: str) -> None:
        """A key that is not a str is refused, and so is the prefix of this package's own keys."""
        with pytest.raises(SessionValueError, match="key of user_session"):
            browser_of(site, user).do(f"user_session[{key}] = 1")

    @pytest.mark.promise(5)
    def test_an_unknown_type_names_the_key(self, site: Site, user: str | None) -> None:
        """The error names the key, and the stored values stay, in the session too."""
        browser = browser_of(site, user)
        browser.do("user_session['a'] = {'b': 1}; session['s'] = 1")
        with pytest.raises(SessionValueError, match=r"^user_session\['a'\]\['b'\] has a value of type object"):
            browser.do("user_session['a']['b'] = object(); session['s'] = 2")
        assert browser.do("answer = [dict(user_session), session['s']]") == [{"a": {"b": 1}}, 1]

    def test_its_repr_holds_nothing(self, site: Site, user: str | None) -> None:
        """``repr()`` shows no value, because it is often logged."""
        assert "secret" not in browser_of(site, user).do(
            "user_session['secret'] = 'secret'; answer = repr(user_session)"
        )


@pytest.mark.promise(1, 2)
class TestCosts:
    """Costs of ``user_session`` in store commands."""

    def calls(self, site: Site, browser: Browser, code: str) -> list[str]:
        store = site.watch()
        before = len(store.calls)
        browser.do(code)
        return [call.verb for call in store.calls[before:]]

    def test_of_a_user(self, site: Site) -> None:
        """For a user: reading costs one more, changing two more, no use none. An equal value is no change."""
        browser = browser_of(site, "alice")
        assert self.calls(site, browser, "session.get('x')") == ["load"]
        assert self.calls(site, browser, "user_session.get('x')") == ["load", "load"]
        assert self.calls(site, browser, "user_session['x'] = [1]") == ["load", "load", "create"]
        assert self.calls(site, browser, "user_session['x'] = [1]; user_session['x'][0]") == ["load", "load"]
        assert self.calls(site, browser, "user_session['x'].append(2); user_session['y'] = 3") == [
            "load",
            "load",
            "replace",
        ]

    def test_of_a_visitor(self, site: Site) -> None:
        """For a visitor: no command besides those of the session."""
        browser = browser_of(site, None)
        assert self.calls(site, browser, "user_session.get('x')") == []
        assert self.calls(site, browser, "user_session['x'] = 1") == ["create"]
        assert self.calls(site, browser, "user_session['x'] += 1") == ["load", "replace"]

    def test_of_a_login(self, site: Site) -> None:
        """A login costs three commands if there is data to merge, and none otherwise."""
        store = site.watch()
        counts = []
        for code in ("session['x'] = 1", "user_session['x'] = 1"):
            browser = Browser(site)
            browser.do(code)
            before = len(store.calls)
            browser.login("alice")
            counts.append(len(store.calls) - before)
        assert counts[1] - counts[0] == 3

    def test_refreshing(self, make_site: MakeSite) -> None:
        """The last use is written when a tenth of the lifetime has passed, and not before."""
        site = make_site(USER_SESSION_LIFETIME=100)
        browser = browser_of(site, "alice")
        browser.do("user_session['x'] = 1")
        repository = site.app.session_interface.repository  # type: ignore[attr-defined]
        user_data, name = repository.user_data, repository.tickets.owner_name("alice")
        held = user_data.load(name)
        assert not user_data.is_due(held)
        assert user_data.is_due(held._replace(header=held.header._replace(seen=held.header.seen - 10)))

    def test_its_end(self, make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
        """Data that was not used for USER_SESSION_LIFETIME is over, also in a store that keeps entries longer."""
        site = make_site(USER_SESSION_LIFETIME=100, PERMANENT_SESSION_LIFETIME=10_000)
        browser = browser_of(site, "alice")
        browser.do("user_session['x'] = 1")
        repository = site.app.session_interface.repository  # type: ignore[attr-defined]
        clock = repository.clock
        repository.clock = lambda: clock() + 90
        assert browser.show() == {"x": 1}
        repository.clock = lambda: clock() + 180
        assert browser.show() == {"x": 1}
        repository.clock = lambda: clock() + 290
        assert browser.show() == {}


class TestWhose:
    """Each user sees only the user's own data."""

    def test_every_device_has_the_same(self, site: Site) -> None:
        """All devices see the same data, also after every session has ended."""
        one, other = browser_of(site, "alice"), browser_of(site, "alice")
        one.do("user_session['a'] = 1")
        assert other.show() == {"a": 1}
        one.logout()
        other.logout()
        assert one.show() == {}
        assert browser_of(site, "alice").show() == {"a": 1}
        assert browser_of(site, "bob").show() == {}

    def test_within_one_request(self, site: Site) -> None:
        """A login or logout switches to another user's data at once. Each user's changes are saved as that user's."""
        browser = browser_of(site, None)
        code = """
login('alice'); user_session['x'] = 'of alice'
login('bob'); user_session['x'] = 'of bob'; user_session['y'] = 1
logout(); answer = dict(user_session); user_session['x'] = 'of nobody'
"""
        assert browser.do(code) == {}
        assert browser.show() == {"x": "of nobody"}
        assert site.stored("alice") == {"x": "of alice"}
        assert site.stored("bob") == {"x": "of bob", "y": 1}

    def test_while_impersonating(self, site: Site) -> None:
        """During an impersonation it is the data of the impersonated user."""
        browser_of(site, "bob").do("user_session['x'] = 'of bob'")
        browser = browser_of(site, "alice")
        browser.do("user_session['x'] = 'of alice'; impersonate('bob')")
        assert browser.show() == {"x": "of bob"}
        browser.do("stop_impersonating()")
        assert browser.show() == {"x": "of alice"}

    def test_with_a_credential(self, site: Site) -> None:
        """A user with a credential sees the user's data. The request leaves the visitor data of the session alone."""

        @site.manager.authenticator("Bearer")
        def by_token(request: Any) -> Any:
            return site.users.get(request.authorization.token)

        browser = browser_of(site, None)
        browser.do("user_session['x'] = 'of the visitor'")
        shown = browser.do(
            "answer = dict(user_session); user_session['y'] = 1", headers={"Authorization": "Bearer alice"}
        )
        assert shown == {}
        assert browser.show() == {"x": "of the visitor"}
        assert site.stored("alice") == {"y": 1}

    def test_with_a_refused_credential(self, site: Site) -> None:
        """A refused credential is a 401. On its page the dict is empty, and changes are dropped with a signal."""

        @site.manager.authenticator("Bearer")
        def by_token(request: Any) -> Any:
            return None

        browser = browser_of(site, "alice")
        browser.do("user_session['x'] = 1")
        told: list[Any] = []
        with user_session_discarded.connected_to(lambda sender, **arguments: told.append(arguments)):
            code = "try: dict(user_session)\nexcept Exception: answer = dict(user_session); user_session['x'] = 2"
            shown = browser.do(code, headers={"Authorization": "Bearer z"})
        assert shown == {}
        assert told == [{"user_id": None, "keys": ("x",), "reason": "refused"}]
        assert browser.show() == {"x": 1}

    def test_kinds_of_users(self, site: Site) -> None:
        """Users of another kind have other data, even with the same id, and merge their own visitor data."""
        staff = UserKind("staff", site.app)
        staff.user_loader(site.users.get)

        @site.app.get("/staff/<int:number>")
        def staff_work(number: int) -> Any:
            staff.user_session["n"] = staff.user_session.get("n", 0) + number
            return dict(staff.user_session)

        @site.app.get("/staff/login")
        def staff_login() -> Any:
            staff.login_user(site.users["alice"])
            return dict(staff.user_session)

        browser = browser_of(site, "alice")
        browser.do("user_session['n'] = 100")
        assert browser.get("/staff/2").json == {"n": 2}
        assert browser.get("/staff/login").json == {"n": 2}
        assert browser.get("/staff/3").json == {"n": 5}
        assert browser.show() == {"n": 100}
        with site.app.app_context():
            assert '"n": 5' in staff.export_user_data("alice")
            assert staff.delete_user_data(site.users["alice"])
            assert staff.export_user_data("alice") == "{}"
        assert site.stored("alice") == {"n": 100}

    def test_namespaces(self, make_site: MakeSite) -> None:
        """Two applications on one store do not see each other's user data."""
        one, other = make_site(), make_site(SESSION_NAMESPACE="another")
        browser_of(one, "alice").do("user_session['x'] = 1")
        assert other.stored("alice") == {}


class TestSettingUp:
    """An error names the missing setup."""

    def test_without_logins(self) -> None:
        """Without a login manager it is a RuntimeError, as with ``current_user``."""
        app = Flask("shop")
        with app.test_request_context(), pytest.raises(RuntimeError, match="LoginManager"):
            user_session.get("x")

    def test_without_sessions_on_the_server(self) -> None:
        """Without sessions on the server the error says what to set up."""
        app = Flask("shop")
        app.config["SECRET_KEY"] = "a key that is long enough"
        LoginManager(app).user_loader(lambda user_id: None)
        with app.test_request_context(), pytest.raises(CloakroomError, match=r"Session\(app\)"):
            user_session.get("x")

    def test_too_large(self, make_site: MakeSite) -> None:
        """The error names the key. Stored values stay, and nothing else of the request is saved."""
        site = make_site(SESSION_MAX_BYTES=2000)
        browser = browser_of(site, "alice")
        browser.do("user_session['x'] = 1")
        with pytest.raises(
            SessionTooLargeError, match=r"^The user_session would .* user_session\['big'\] with 3003 bytes"
        ):
            browser.do("user_session['big'] = 'x' * 3000; session['s'] = 1")
        assert browser.do("answer = [dict(user_session), 's' in session]") == [{"x": 1}, False]

    def test_encryption_needs_a_secret_key(self, make_site: MakeSite) -> None:
        """A SettingError names both settings; a visitor meets it too, so that it is found before the first login."""
        for key in (None, "short"):
            site = make_site(SESSION_ENCRYPTION=True, SECRET_KEY=key)
            with pytest.raises(SettingError, match=r"^SECRET_KEY: "):
                Browser(site).do("user_session['x'] = 1")
