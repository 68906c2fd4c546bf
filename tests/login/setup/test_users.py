"""The flags of user objects, such as ``is_active``, as properties and as methods."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from flask import jsonify, render_template_string, session

from flask_cloakroom import AnonymousUserMixin, UserMixin, current_user
from flask_cloakroom.login.setup.users import Flag, is_set
from support.sites.login import MakeSite, Site


class Properties:
    """Today's form."""

    is_authenticated = True
    is_anonymous = False

    def __init__(self, active: bool = True) -> None:
        self.active = active

    @property
    def is_active(self) -> bool:
        return self.active

    def get_id(self) -> str:
        return "alice"


class Methods(Properties):
    """The form of older texts."""

    def is_active(self) -> bool:  # type: ignore[override]
        return self.active

    def is_authenticated(self) -> bool:  # type: ignore[override]
        return True

    def is_anonymous(self) -> bool:  # type: ignore[override]
        return False


class MixinWithMethod(UserMixin):
    """Half of each."""

    id = "alice"
    active = False

    def is_active(self) -> bool:  # type: ignore[override]
        return self.active


@pytest.mark.parametrize("user", [Properties(), Methods(), UserMixin()])
def test_both_forms_are_read(user: Any) -> None:
    """What they say, and not that there is something to be called."""
    assert is_set(user, "is_active")
    assert is_set(user, "is_authenticated")
    assert not is_set(user, "is_anonymous")


@pytest.mark.parametrize("user", [Properties(active=False), Methods(active=False), MixinWithMethod()])
def test_a_method_is_not_true(user: Any) -> None:
    """One that returns False says no."""
    assert not is_set(user, "is_active")


def test_the_mixin_asks_the_method() -> None:
    """``is_authenticated`` follows an ``is_active`` that is a method."""
    assert not MixinWithMethod().is_authenticated


def test_async_and_missing() -> None:
    """A coroutine would be true whatever it returns; and who says nothing is no user."""

    class Wrong:
        async def is_active(self) -> bool:
            return False

    with pytest.raises(TypeError, match="is_active"):
        is_set(Wrong(), "is_active")
    with pytest.raises(AttributeError):
        is_set(Wrong(), "is_authenticated")


@pytest.mark.parametrize("value", [True, False])
class TestFlag:
    """Like a bool, and callable."""

    def test_is_read_and_called(self, value: bool) -> None:
        """In conditions, comparisons, as a key, printed, formatted."""
        flag = Flag(value)
        assert bool(flag) is value
        assert flag() is value
        assert flag == value
        assert hash(flag) == hash(value)
        assert (not flag) is (not value)
        assert str(flag) == repr(flag) == f"{flag}" == str(value)
        assert {True: "yes", False: "no"}[flag] == ("yes" if value else "no")
        assert copy.deepcopy(flag) == value

    def test_json(self, value: bool) -> None:
        """1 or 0, which are true and false where JSON is read."""
        assert json.dumps(Flag(value)) == str(int(value))

    def test_jinja(self, value: bool) -> None:
        """Read or called, in conditions and printed."""
        from jinja2 import Environment

        text = "{{ 1 if a else 0 }}{{ 1 if a() else 0 }}{{ 1 if not a else 0 }} {{ a }} {{ a() }} {{ a == true }}"
        rendered = Environment(autoescape=True).from_string(text).render(a=Flag(value))
        assert rendered == ("110" if value else "001") + f" {value}" * 3


def test_flags_in_a_session(site: Site) -> None:
    """What somebody puts there comes out as a bool, or as the number that JSON makes of it."""
    site.work = lambda: session.update(flag=current_user.is_authenticated)
    browser = site.browser("alice")
    browser.open("/work")
    assert browser.open("/contents").json["flag"] in (True, 1)


@pytest.mark.parametrize("cls", [Properties, Methods, MixinWithMethod])
def test_current_user_has_both_forms(site: Site, cls: Any) -> None:
    """Of any user class whose flags are methods, ``current_user`` can be read as well as called."""
    user = site.users["alice"] = cls()
    user.active = True
    user.id = "alice"

    @site.app.route("/forms")
    def forms() -> Any:
        text = "{% if current_user.is_authenticated %}in{% endif %}{% if not current_user.is_anonymous %}!{% endif %}"
        called = current_user.is_authenticated() if cls is not Properties else True
        return jsonify(render_template_string(text), bool(current_user.is_active), called)

    assert site.browser("alice").open("/forms").json == ["in!", True, True]


def test_nobody(site: Site) -> None:
    """An anonymous user, read or called; and their id is None."""

    @site.app.route("/forms")
    def forms() -> Any:
        text = "{{ current_user.is_authenticated }} {{ current_user.is_anonymous() }} {{ current_user.is_active }}"
        assert isinstance(current_user._get_current_object(), AnonymousUserMixin)
        assert current_user.get_id() is None
        return render_template_string(text)

    assert site.browser().text("/forms") == "False True False"


class TestMixin:
    """UserMixin."""

    def test_equality(self) -> None:
        """By id, among those that have the mixin."""

        class Account(UserMixin):
            def __init__(self, number: int) -> None:
                self.id = number

        assert Account(1) == Account(1)
        assert Account(1) != Account(2)
        assert Account(1) != "1"
        assert Account(1).get_id() == "1"

    def test_no_id(self) -> None:
        """Says what to do."""
        with pytest.raises(NotImplementedError, match="override `get_id`"):
            UserMixin().get_id()


def test_a_user_without_an_id(make_site: MakeSite) -> None:
    """Is nobody, so there is nobody to log in, forced or not."""
    site = make_site(PROPAGATE_EXCEPTIONS=True)
    site.users["nobody"] = AnonymousUserMixin()
    assert not site.browser().login("nobody")
    with pytest.raises(ValueError, match="get_id"):
        site.browser().login("nobody", force=True)
