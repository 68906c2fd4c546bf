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
    """Used like ``session``, whoever it belongs to."""

    @pytest.mark.promise(5)
    def test_what_goes_in_comes_out(self, site: Site, user: str | None) -> None:
        """With its type, in another request."""
        browser = browser_of(site, user)
        browser.do("user_session['a'] = (1, {2}); user_session.update(b=b'x', c=None)")
        assert (
            browser.do("answer = repr(sorted(user_session.items()))") == "[('a', (1, {2})), ('b', b'x'), ('c', None)]"
        )
        assert browser.do("answer = [len(user_session), 'a' in user_session, 'z' in user_session]") == [3, True, False]

    @pytest.mark.promise(6)
    def test_nested_changes_are_saved(self, site: Site, user: str | None) -> None:
        """Without announcing them."""
        browser = browser_of(site, user)
        browser.do("user_session['cart'] = {'items': []}")
        browser.do("user_session['cart']['items'].append(7)")
        assert browser.show() == {"cart": {"items": [7]}}

    def test_deleting(self, site: Site, user: str | None) -> None:
        """By ``del``, ``pop`` and ``clear``; what is not there is a KeyError that names it."""
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
        """One name in both is two things."""
        browser = browser_of(site, user)
        browser.do("user_session['a'] = 1; session['a'] = 2")
        assert browser.do("answer = [user_session['a'], session['a']]") == [1, 2]

    @pytest.mark.parametrize("key", ["1", "None", "'\\0x'"])
    def test_keys_are_str(self, site: Site, user: str | None, key: str) -> None:
        """Another type is refused, and so is the beginning that our own note has."""
        with pytest.raises(SessionValueError, match="key of user_session"):
            browser_of(site, user).do(f"user_session[{key}] = 1")

    @pytest.mark.promise(5)
    def test_an_unknown_type_names_the_key(self, site: Site, user: str | None) -> None:
        """And what was stored before stays, in the session too."""
        browser = browser_of(site, user)
        browser.do("user_session['a'] = {'b': 1}; session['s'] = 1")
        with pytest.raises(SessionValueError, match=r"^user_session\['a'\]\['b'\] holds a value of type object"):
            browser.do("user_session['a']['b'] = object(); session['s'] = 2")
        assert browser.do("answer = [dict(user_session), session['s']]") == [{"a": {"b": 1}}, 1]

    def test_its_repr_holds_nothing(self, site: Site, user: str | None) -> None:
        """Because what is printed is logged."""
        assert "secret" not in browser_of(site, user).do(
            "user_session['secret'] = 'secret'; answer = repr(user_session)"
        )


@pytest.mark.promise(1, 2)
class TestCosts:
    """In store commands."""

    def calls(self, site: Site, browser: Browser, code: str) -> list[str]:
        store = site.watch()
        before = len(store.calls)
        browser.do(code)
        return [call.verb for call in store.calls[before:]]

    def test_of_a_user(self, site: Site) -> None:
        """One more for reading, two more for changing, none for not using it; a value that stays is no change."""
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
        """Nothing beside the session."""
        browser = browser_of(site, None)
        assert self.calls(site, browser, "user_session.get('x')") == []
        assert self.calls(site, browser, "user_session['x'] = 1") == ["create"]
        assert self.calls(site, browser, "user_session['x'] += 1") == ["load", "replace"]

    def test_of_a_login(self, site: Site) -> None:
        """Without anything to merge, none. Else three: the user's entry is read and written, the session is cleaned."""
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
        """It is written down that it is in use when a tenth of the lifetime has passed, and not before."""
        site = make_site(USER_SESSION_LIFETIME=100)
        browser = browser_of(site, "alice")
        browser.do("user_session['x'] = 1")
        repository = site.app.session_interface.repository  # type: ignore[attr-defined]
        user_data, name = repository.user_data, repository.tickets.owner_name("alice")
        held = user_data.load(name)
        assert not user_data.is_due(held)
        assert user_data.is_due(held._replace(header=held.header._replace(seen=held.header.seen - 10)))

    def test_its_end(self, make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
        """Unused for USER_SESSION_LIFETIME it is over, also in a store that keeps it; used again before, it is not."""
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
    """Each sees their own."""

    def test_every_device_has_the_same(self, site: Site) -> None:
        """Also after every session has ended."""
        one, other = browser_of(site, "alice"), browser_of(site, "alice")
        one.do("user_session['a'] = 1")
        assert other.show() == {"a": 1}
        one.logout()
        other.logout()
        assert one.show() == {}
        assert browser_of(site, "alice").show() == {"a": 1}
        assert browser_of(site, "bob").show() == {}

    def test_within_one_request(self, site: Site) -> None:
        """Logins and logouts change whose it is at once, and each one's changes are saved as theirs."""
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
        """It is that of the user as whom the site is seen."""
        browser_of(site, "bob").do("user_session['x'] = 'of bob'")
        browser = browser_of(site, "alice")
        browser.do("user_session['x'] = 'of alice'; impersonate('bob')")
        assert browser.show() == {"x": "of bob"}
        browser.do("stop_impersonating()")
        assert browser.show() == {"x": "of alice"}

    def test_with_a_credential(self, site: Site) -> None:
        """A user whom an authenticator finds has theirs, and their request leaves the session's alone."""

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
        """Asking is a 401. On its page it is nobody's: empty, and what is written is told to be dropped."""

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
        """Users of another kind have another one, even with the same id, and merge their own visitor's."""
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
        """Two applications on one store have nothing of each other's users."""
        one, other = make_site(), make_site(SESSION_NAMESPACE="another")
        browser_of(one, "alice").do("user_session['x'] = 1")
        assert other.stored("alice") == {}


class TestSettingUp:
    """What is missing is said."""

    def test_without_logins(self) -> None:
        """RuntimeError, as ``current_user`` has it."""
        app = Flask("shop")
        with app.test_request_context(), pytest.raises(RuntimeError, match="LoginManager"):
            user_session.get("x")

    def test_without_sessions_on_the_server(self) -> None:
        """It says what to set up."""
        app = Flask("shop")
        app.config["SECRET_KEY"] = "a key that is long enough"
        LoginManager(app).user_loader(lambda user_id: None)
        with app.test_request_context(), pytest.raises(CloakroomError, match=r"Session\(app\)"):
            user_session.get("x")

    def test_too_large(self, make_site: MakeSite) -> None:
        """The error names the key, what was stored stays, and the rest of the request is not saved either."""
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
