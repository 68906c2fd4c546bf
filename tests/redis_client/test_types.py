"""What type checkers see of FlaskRedis: the driver's methods, and every mistake."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.redis.clients import PACKAGE, SOURCE

USERS_PROJECT = '''
"""A site that is checked strictly."""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask_cloakroom import FlaskRedis, Session, redis_lost
from flask_redis import FlaskRedis as DropIn
from flask_redis.client import FlaskRedis as FromItsModule

app = Flask(__name__)
redis_client = FlaskRedis(app)
cache: FlaskRedis = FlaskRedis(config_prefix="CACHE", decode_responses=True, max_connections=5)
cache.init_app(app, socket_timeout=3)
session_store = DropIn(app, strict=True, config_prefix="SESSION")
same: FlaskRedis = FromItsModule(app)


class Mine:
    @classmethod
    def from_url(cls, url: str, **options: Any) -> Mine:
        return cls()


custom = FlaskRedis.from_custom_provider(Mine, app)


@app.get("/")
def index() -> str:
    redis_client.set("key", "value", ex=None, px=None, nx=False, xx=False)
    redis_client.incr("n", amount=1)
    redis_client.hset("h", "f", "v")
    redis_client.lpush("l", 1, 2)
    redis_client.sadd("s", 1, 2)
    redis_client.zadd("z", {"a": 1.0})
    redis_client.publish("channel", "message")
    with redis_client.pipeline() as pipeline:
        pipeline.set("a", 1)
        pipeline.get("a")
        pipeline.execute()
    redis_client.multi()
    redis_client["key"] = "value"
    del redis_client["key"]
    results: list[Any] = redis_client.exec()
    redis_client.multi()
    redis_client.discard()
    found = "key" in redis_client
    return f"{results} {found} {redis_client['key']} {redis_client.config_prefix}"


@redis_lost.connect_via(app)
def on_lost(sender: Flask, client: FlaskRedis, cause: str, **rest: object) -> None:
    print(sender.name, client.config_prefix, cause)


app.config["SESSION_REDIS"] = redis_client
Session(app)
'''

WRONG_PROJECT = """
from flask import Flask
from flask_cloakroom import FlaskRedis

app = Flask(__name__)
redis_client = FlaskRedis(app)
FlaskRedis("app")  # error
FlaskRedis(app, config_prefix=5)  # error
FlaskRedis(app, strict="yes")  # error
redis_client.init_app()  # error
redis_client.set("only a key")  # error
redis_client.expire("key", [])  # error
redis_client.no_such_command("key")  # error
redis_client.exec("argument")  # error
redis_client.multi(5)  # error
wrong: int = redis_client.exec()  # error
redis_client.hget("only a name")  # error
"""


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Return a folder with the packages alone, so that they are no part of the project that is checked."""
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "flask_cloakroom").symlink_to(PACKAGE, target_is_directory=True)
    (folder / "flask_redis").symlink_to(SOURCE.parent / "dropin" / "src" / "flask_redis", target_is_directory=True)
    return folder


def check(source: str, folder: Path, packages: Path) -> str:
    """Return what mypy says of a project, checked strictly."""
    pytest.importorskip("mypy")
    (folder / "project.py").write_text(source)
    cache = SOURCE.parent / ".cache" / "mypy-of-test-types"
    options = ["--strict", "--follow-imports=silent", "--cache-dir", str(cache)]
    command = [sys.executable, "-m", "mypy", *options, "project.py"]
    environment = {**os.environ, "MYPYPATH": str(packages)}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return result.stdout + result.stderr


def test_a_users_project_checks_strictly(tmp_path: Path, packages: Path) -> None:
    """Every way to use it, and the drop-in's names, with no ``type: ignore`` and no cast."""
    found = check(USERS_PROJECT, tmp_path, packages)
    assert "Success: no issues found" in found, found


def test_mistakes_are_found(tmp_path: Path, packages: Path) -> None:
    """Every line marked as an error is one: the methods have the driver's signatures, and are not all Any."""
    found = check(WRONG_PROJECT, tmp_path, packages)
    wrong = [number for number, line in enumerate(WRONG_PROJECT.splitlines(), 1) if line.endswith("# error")]
    assert wrong == sorted({int(line.split(":")[1]) for line in found.splitlines() if ": error:" in line}), found
