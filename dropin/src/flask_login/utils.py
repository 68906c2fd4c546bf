"""Flask-Login's module for its functions, with the private functions that other packages import."""

from flask_cloakroom import (
    confirm_login,
    current_user,
    decode_cookie,
    encode_cookie,
    fresh_login_required,
    login_fresh,
    login_remembered,
    login_required,
    login_url,
    login_user,
    logout_user,
    make_next_param,
    set_login_view,
)
from flask_cloakroom.login.access.login_url import expand_login_view
from flask_cloakroom.login.remember.secret_keys import secret_key as _secret_key
from flask_cloakroom.login.request.current_user import get_user as _get_user
from flask_cloakroom.login.request.current_user import user_context as _user_context_processor

__all__ = [
    "_get_user",
    "_secret_key",
    "_user_context_processor",
    "confirm_login",
    "current_user",
    "decode_cookie",
    "encode_cookie",
    "expand_login_view",
    "fresh_login_required",
    "login_fresh",
    "login_remembered",
    "login_required",
    "login_url",
    "login_user",
    "logout_user",
    "make_next_param",
    "set_login_view",
]
