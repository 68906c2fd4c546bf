"""The cost of ``import flask_cloakroom``, and the packages that it needs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from support.processes import run
from support.source.figures import (
    TESTING,
    imports_of,
)
from support.source.layers import (
    MODULES,
    part_of,
)

DRIVERS = {"redis", "valkey", "cryptography", "sqlite3", "sqlalchemy", "pymongo", "pymemcache", "boto3", "cachelib"}


class TestImporting:
    """The time and the modules that ``import flask_cloakroom`` needs."""

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
