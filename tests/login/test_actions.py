"""Each function for views calls the method of the same name on the manager."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Request, session
from flask.sessions import SecureCookieSession, SessionMixin

import flask_cloakroom
from flask_cloakroom import LoginManager, UserKind, login_user
from flask_cloakroom.login import actions
from flask_cloakroom.login.in_session.session_login import SessionLogin
from flask_cloakroom.login.request.state import login_state
from flask_cloakroom.login.setup.realm import Realm
from support.sites.login import MakeSite, Site

#: About the manager's own attributes, of which a kind of user has its own.
NOT_A_VERB = {"set_login_view", "_manager"}
VERBS = [
    name
    for name, function in vars(actions).items()
    if inspect.isfunction(function) and function.__module__ == actions.__name__ and name not in NOT_A_VERB
]
DECORATORS = ["login_required", "fresh_login_required", "permission_required"]


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    found = list(inspect.signature(function).parameters.values())
    return [parameter.replace(annotation=parameter.empty) for parameter in found if parameter.name != "self"]


def test_there_are_verbs() -> None:
    """The list is not empty by a mistake of this module's."""
    assert {"login_user", "logout_user", "active_sessions", "delete_user_data", "login_watch"} <= set(VERBS)


@pytest.mark.parametrize("cls", [LoginManager, UserKind])
@pytest.mark.parametrize("name", [*VERBS, *DECORATORS])
def test_method_and_function_take_the_same(cls: type[LoginManager], name: str) -> None:
    """Code moves from one kind of user to several without other arguments."""
    assert parameters_of(getattr(cls, name)) == parameters_of(getattr(flask_cloakroom, name))


@pytest.mark.parametrize("name", VERBS)
def test_a_kind_does_not_repeat_it(name: str) -> None:
    """A kind of user has its own session and settings, and no verb of its own."""
    assert getattr(UserKind, name) is getattr(LoginManager, name)


def test_the_function_is_the_managers_method(site: Site) -> None:
    """A manager that overrides a verb is obeyed by code that calls the function."""
    asked: list[Any] = []

    class Choosy(LoginManager):
        def login_user(self, user: Any, *arguments: Any, **named: Any) -> bool:
            asked.append(user)
            return False

    Choosy(site.app).user_loader(site.users.get)
    browser = site.browser()
    assert not browser.login("alice")
    assert (asked, browser.who) == ([site.users["alice"]], "nobody")


def test_a_manager_that_was_not_set_up() -> None:
    """Its verbs say so: no response would be finished for its logins."""
    manager = LoginManager()
    with Flask("site").test_request_context(), pytest.raises(RuntimeError, match="init_app"):
        manager.login_user(object())


class TestSessionLogin:
    """The object that a request has for the login in its session."""

    @pytest.mark.parametrize(("kind", "on_server"), [("server", True), ("cookie", False)])
    def test_fits_the_session(self, make_site: MakeSite, kind: str, on_server: bool) -> None:
        """It knows whether the session is on the server, and stays the same object during one operation."""
        site = make_site(kind)
        with site.app.test_request_context():
            state = login_state(site.manager)
            assert (state.login.server_session is not None) is on_server
            assert state.login is state.login

    def test_follows_the_session(self, make_site: MakeSite) -> None:
        """If something puts another session in its place, the login is looked for in that one."""
        site = make_site("server")
        other = SecureCookieSession({"_user_id": "alice"})

        class Moved(Realm):
            found: SessionMixin | None = None
            state_name = "moved"

            def session_of(self, request: Request) -> SessionMixin:
                return self.found or super().session_of(request)

        realm = Moved()
        with site.app.test_request_context():
            assert login_state(realm).login.stored() is None
            realm.found = other
            login = login_state(realm).login
            stored = login.stored()
            assert stored is not None
            assert (stored.user_id, stored.impersonated, stored.forced) == ("alice", None, False)
            assert type(login) is SessionLogin
            assert login.server_session is None

    def test_shows_nothing(self, site: Site) -> None:
        """What it read of a session is hidden in error reports."""
        with site.app.test_request_context():
            login_user(site.users["alice"])
            stored = login_state(site.manager).login.stored()
            assert stored is not None
            assert stored.auth_hash
            assert stored.auth_hash == session["_auth_hash"]
            assert repr(stored) == "<StoredLogin>"
