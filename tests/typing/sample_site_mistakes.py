"""Mistakes that a type checker finds: each line with the comment ``# error`` is one."""

from flask_cloakroom import (
    Cloakroom,
    CSRFProtect,
    LoginManager,
    SeaSurf,
    UserKind,
    locked_session,
    login_required,
    login_user,
    permission_required,
    public,
    register_type,
    require_login,
    session,
    validate_csrf,
)
from flask_cloakroom.stores.sqlite.store import SQLiteStore

Cloakroom("app")  # error
locked_session(timeout="1")  # error
register_type(5)  # error
session.rotate(1)  # error
session.no_such_thing  # error
SQLiteStore(5)  # error
LoginManager("app")  # error
login_required(5)  # error
login_user(5, duration="1")  # error
LoginManager().no_such_thing  # error
public(5)  # error
require_login("app")  # error
permission_required("is_admin")  # error
UserKind(5)  # error
LoginManager().authenticator(5)  # error
CSRFProtect("app")  # error
CSRFProtect().exempt("module.view")  # error
CSRFProtect().exempt_urls(5)  # error
CSRFProtect().skip_validation("no")  # error
SeaSurf().include("module.view")  # error
validate_csrf(5)  # error
