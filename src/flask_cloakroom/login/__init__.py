"""Logins: all functions of Flask-Login, for sessions on the server and for Flask's own."""

from .access.decorators import fresh_login_required, login_required
from .access.login_by_default import require_login
from .access.login_url import login_url, make_next_param
from .access.permissions import permission_required
from .access.public import public
from .actions import (
    active_sessions,
    confirm_login,
    delete_user_data,
    export_user_data,
    impersonate,
    impersonator,
    login_fresh,
    login_remembered,
    login_source,
    login_user,
    login_watch,
    logout_everybody,
    logout_everywhere,
    logout_user,
    revoke_session,
    set_login_view,
    stop_impersonating,
    update_session_auth_hash,
)
from .compat.test_client import FlaskLoginClient
from .devices.active_sessions import ActiveSession
from .devices.login_watch import LoginWatch
from .kinds import UserKind
from .manager import LoginManager
from .remember.secret_keys import decode_cookie, encode_cookie
from .request.current_user import current_user
from .setup.authenticators import Refused
from .setup.users import AnonymousUserMixin, UserMixin
from .user_session.mappings import UserSession
from .user_session.proxy import user_session

__all__ = [
    "ActiveSession",
    "AnonymousUserMixin",
    "FlaskLoginClient",
    "LoginManager",
    "LoginWatch",
    "Refused",
    "UserKind",
    "UserMixin",
    "UserSession",
    "active_sessions",
    "confirm_login",
    "current_user",
    "decode_cookie",
    "delete_user_data",
    "encode_cookie",
    "export_user_data",
    "fresh_login_required",
    "impersonate",
    "impersonator",
    "login_fresh",
    "login_remembered",
    "login_required",
    "login_source",
    "login_url",
    "login_user",
    "login_watch",
    "logout_everybody",
    "logout_everywhere",
    "logout_user",
    "make_next_param",
    "permission_required",
    "public",
    "require_login",
    "revoke_session",
    "set_login_view",
    "stop_impersonating",
    "update_session_auth_hash",
    "user_session",
]
