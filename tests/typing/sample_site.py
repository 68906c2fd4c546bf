"""A site that is checked strictly."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import Blueprint, Flask, Request, Response
from flask.views import MethodView

from flask_cloakroom import (
    MISSING,
    ActiveSession,
    Cloakroom,
    CloakroomError,
    CSRFClient,
    CSRFError,
    CSRFProtect,
    FlaskLoginClient,
    LoginManager,
    LoginWatch,
    Refused,
    SeaSurf,
    ServerSession,
    Session,
    SessionTooLargeError,
    SessionValueError,
    SettingError,
    UserKind,
    UserMixin,
    active_sessions,
    confirm_login,
    current_user,
    fresh_login_required,
    generate_csrf,
    impersonate,
    impersonation_started,
    impersonator,
    locked_session,
    login_fresh,
    login_required,
    login_source,
    login_user,
    login_watch,
    logout_everywhere,
    logout_user,
    passive,
    permission_required,
    public,
    register_type,
    require_login,
    revoke_session,
    safe_next,
    session,
    session_conflict,
    stop_impersonating,
    update_session_auth_hash,
    user_logged_in,
    validate_csrf,
)
from flask_cloakroom.stores import Entry, Store
from flask_cloakroom.stores.memory import MemoryStore
from flask_cloakroom.stores.sqlite.store import SQLiteStore


@register_type
@dataclass
class Line:
    sku: str
    quantity: int = 1


@register_type(name="colour")
class Colour(enum.Enum):
    RED = 1


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents


register_type(Money, encode=lambda money: money.cents, decode=lambda cents: Money(cents))


def create_app(store: Store | None = None) -> Flask:
    app = Flask(__name__)
    app.config["SESSION_STORE"] = store or MemoryStore()
    try:
        Cloakroom(app)
    except SettingError as error:
        name: str = error.setting
        raise SystemExit(name) from error
    extension = Session()
    extension.init_app(app)

    @app.get("/")
    @locked_session(timeout=1.0)
    def index() -> str:
        line: Line = Line("tea")
        session["line"] = line
        session.rotate()
        session.permanent = True
        with session.lock(timeout=1):
            session["n"] = session.get("n", 0) + 1
        sid: str | None = session.sid
        return sid or "none"

    @app.get("/poll")
    @passive
    async def poll() -> dict[str, Any]:
        colour: Colour = Colour.RED
        session.destroy()
        return {"colour": colour.name, "keys": list(session), "new": session.new}

    @session_conflict.connect_via(app)
    def on_conflict(sender: Flask, key: object, mine: object, **rest: object) -> None:
        if mine is MISSING:
            print(key, sender.name)

    return app


class Account(UserMixin):
    def __init__(self, number: int) -> None:
        self.id = number

    @property
    def is_active(self) -> bool:
        return self.id > 0

    def session_auth_hash(self) -> str:
        return "x"


def add_logins(app: Flask) -> LoginManager:
    manager = LoginManager()
    manager.init_app(app)
    manager.login_view = "login"
    app.test_client_class = FlaskLoginClient

    @manager.user_loader
    def load(user_id: str) -> Account | None:
        return Account(int(user_id)) if user_id.isdigit() else None

    @app.post("/login")
    def login() -> str:
        entered: bool = login_user(Account(1), remember=True, duration=timedelta(days=1))
        return safe_next("/") if entered else "no"

    @app.get("/account")
    @login_required
    def account() -> dict[str, bool]:
        return {"active": current_user.is_active, "same": Account(1).is_authenticated}

    @app.post("/confirm")
    @fresh_login_required
    async def confirm() -> str:
        confirm_login()
        logout_user()
        return "ok"

    @app.post("/password")
    @fresh_login_required(max_age=timedelta(minutes=10))
    def password() -> str:
        update_session_auth_hash()
        others: list[ActiveSession] = [one for one in active_sessions() if not one.current and one.live]
        ended: int = sum(revoke_session(one.handle) for one in others) + logout_everywhere(keep_current=True)
        return f"{ended} {login_fresh(60)}"

    @user_logged_in.connect_via(app)
    def on_login(sender: Flask, user: Account, **rest: object) -> None:
        print(user.get_id())

    found: Account | None = load("1")
    print(found)
    return manager


def add_access(app: Flask, manager: LoginManager) -> UserKind:
    operators = UserKind("operator", app)
    office = Blueprint("office", __name__)
    operators.require_login(office)
    require_login(app)

    @operators.user_loader
    async def load(user_id: str) -> Account | None:
        return Account(int(user_id))

    @manager.authenticator("Bearer", challenge="Bearer")
    def by_token(request: Request) -> Account | None:
        return None

    @operators.authenticator
    async def by_key(request: Request) -> Account | None:
        raise Refused("no")

    @manager.impersonation_allowed
    def allowed(operator: Account, user: Account) -> bool:
        return operator.id < user.id

    @app.get("/about")
    @public
    def about() -> str:
        return login_source() or "nobody"

    @public
    class Page(MethodView):
        @public
        def get(self) -> str:
            return "page"

    @app.get("/admin")
    @permission_required(lambda user: user.id == 1)
    async def admin() -> str:
        impersonate(Account(2))
        print(impersonator(), stop_impersonating())
        watch: LoginWatch = login_watch()
        return str(watch.is_good())

    @office.get("/vault")
    @operators.fresh_login_required(max_age=timedelta(minutes=10))
    def vault() -> str:
        entered: bool = operators.login_user(Account(1))
        return str(operators.current_user.is_active and entered)

    @office.get("/plain")
    @operators.login_required
    @operators.permission_required(allowed)
    def plain() -> str:
        return str(len(operators.active_sessions()))

    @impersonation_started.connect_via(app)
    def on_start(sender: Flask, user: Account, impersonator: Account, **rest: object) -> None:
        print(user.get_id(), impersonator.get_id())

    app.add_url_rule("/page", view_func=Page.as_view("page"))
    app.register_blueprint(office)
    return operators


class Client(CSRFClient, FlaskLoginClient):
    pass


def add_protection(app: Flask) -> None:
    csrf: CSRFProtect = CSRFProtect(app)
    api = csrf.exempt(Blueprint("api", __name__))
    app.register_blueprint(api)
    app.test_client_class = Client

    @app.post("/hook")
    @csrf.exempt
    def hook(number: int) -> str:
        token: str = generate_csrf()
        try:
            validate_csrf(token, time_limit=60)
        except CSRFError as error:
            return str(error.code)
        return token

    print(hook(1).upper())
    csrf.exempt_urls(["/api"])

    @csrf.skip_validation
    def skip(request: Request) -> bool:
        return "X-Signature" in request.headers

    print(skip, csrf.has_passed())


def add_seasurf(app: Flask, manager: LoginManager) -> SeaSurf:
    csrf = SeaSurf(app)

    @csrf.exempt
    @csrf.include
    @csrf.set_cookie
    @app.post("/seasurf")
    def view(number: int) -> str:
        csrf.validate()
        csrf.generate_new_token()
        return str(number)

    @csrf.disable_cookie
    async def disable(response: Response) -> bool:
        return response.status_code == 200

    @manager.authenticator(header="X-API-Key")
    def by_key(request: Request) -> Account | None:
        return None

    print(view(1).upper())
    return csrf


def mine(given: ServerSession) -> timedelta | None:
    if given.created is None or given.last_seen is None:
        return None
    return given.last_seen - given.created


def explain(error: CloakroomError) -> str:
    if isinstance(error, SessionValueError):
        return error.path + error.type_name
    if isinstance(error, SessionTooLargeError):
        return str(error.size + error.limit + error.key_size)
    return ""


def copy(one: Store, key: bytes) -> Entry | None:
    return one.load(key)


create_app(SQLiteStore("x.db"))
