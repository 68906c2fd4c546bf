"""``flask redis ping`` and ``flask redis info``, and the warning of ``embedded://`` in production."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_cloakroom import Cloakroom, FlaskRedis, Session
from flask_cloakroom.cli import redis as commands
from support.redis.embedded_users import require_embedded
from support.servers.groups import SixNodeCluster
from support.servers.redis_server import free_port
from support.servers.special import VolatileRedisServer

SECRET = "s3cr3t-pa55"


def make_app(folder: Path, **config: Any) -> Flask:
    app = Flask("site", instance_path=str(folder))
    app.config.update(config)
    return app


def run(app: Flask, *arguments: str) -> tuple[int, str]:
    result = app.test_cli_runner().invoke(commands, list(arguments))
    return result.exit_code, result.output


def test_ping(tmp_path: Path, shared_server: VolatileRedisServer) -> None:
    """A line for each configured client: the setting, where it leads, and how long an answer takes."""
    app = make_app(tmp_path, REDIS_URL=shared_server.url, CACHE_URL=f"redis://127.0.0.1:{shared_server.port}/3")
    FlaskRedis(app)
    FlaskRedis(app, config_prefix="CACHE")
    code, output = run(app, "ping")
    assert code == 0
    first, second = output.splitlines()
    place = f"127.0.0.1:{shared_server.port}"
    assert re.fullmatch(rf"REDIS_URL: {place}/0: answers in \d+\.\d\d ms \(longest \d+\.\d\d ms\)", first)
    assert second.startswith(f"CACHE_URL: {place}/3: answers in ")


def test_ping_of_a_server_that_is_not_there(tmp_path: Path, shared_server: VolatileRedisServer) -> None:
    """It is named, the others are asked all the same, the exit code says it, and no password is shown."""
    url = f"redis://:{SECRET}@127.0.0.1:{free_port()}/0"
    app = make_app(tmp_path, REDIS_URL=url, CACHE_URL=shared_server.url)
    FlaskRedis(app)
    FlaskRedis(app, config_prefix="CACHE")
    for command in ("ping", "info"):
        code, output = run(app, command)
        assert code == 1
        assert "no answer (ConnectionError" in output
        assert f"CACHE_URL: 127.0.0.1:{shared_server.port}/0" in output
        assert SECRET not in output


def test_info(tmp_path: Path, shared_server: VolatileRedisServer) -> None:
    """Version, role, memory, clients, and the keys of each database."""
    app = make_app(tmp_path, REDIS_URL=shared_server.url)
    FlaskRedis(app).set("key", "value")
    code, output = run(app, "info")
    assert code == 0
    lines = output.splitlines()
    assert lines[0] == f"REDIS_URL: 127.0.0.1:{shared_server.port}/0"
    facts = dict(line.strip().split(": ", 1) for line in lines[1:])
    assert facts["server"].startswith("Redis 7")
    assert facts["role"] == "master"
    assert facts["append-only file"] == "off"
    assert facts["memory at most"] == "no limit"
    assert int(facts["clients"]) >= 1
    assert re.fullmatch(r"\d+ \(\d+ of them expire\)", facts["keys in database 0"])


def test_a_cluster(tmp_path: Path, six_node_cluster: SixNodeCluster) -> None:
    """One line for the ping, and what each node says of itself."""
    app = make_app(tmp_path, REDIS_URL=six_node_cluster.url)
    FlaskRedis(app)
    code, output = run(app, "ping")
    assert code == 0
    assert output.startswith("REDIS_URL: cluster 127.0.0.1:")
    code, output = run(app, "info")
    assert code == 0
    # Those that the client knows; a replica that has just joined may not be among them.
    assert output.count("mode: cluster") == len(app.extensions["redis"].get_nodes())
    assert output.count("role: master") == 3


def test_sessions_elsewhere_are_asked_too(tmp_path: Path, shared_server: VolatileRedisServer) -> None:
    """A store on another server than the client's has a line of its own; on the same one it has none."""
    app = make_app(tmp_path, REDIS_URL=shared_server.url, SESSION_REDIS=f"redis://127.0.0.1:{shared_server.port}/9")
    Cloakroom(app)
    assert [line.partition(":")[0] for line in run(app, "ping")[1].splitlines()] == ["REDIS_URL", "sessions"]
    app = make_app(tmp_path, REDIS_URL=shared_server.url)
    Cloakroom(app)
    assert [line.partition(":")[0] for line in run(app, "ping")[1].splitlines()] == ["REDIS_URL"]


def test_without_a_client(tmp_path: Path) -> None:
    """The error says what to do."""
    code, output = run(make_app(tmp_path), "ping")
    assert code == 1
    assert "Make a client with FlaskRedis(app)" in output


def test_the_installed_command(tmp_path: Path, shared_server: VolatileRedisServer) -> None:
    """``flask redis`` is there by the package's entry point, beside ``flask sessions``."""
    (tmp_path / "site_app.py").write_text(
        "from flask import Flask\n"
        "from flask_cloakroom import FlaskRedis\n"
        "app = Flask(__name__)\n"
        f"app.config['REDIS_URL'] = {shared_server.url!r}\n"
        "FlaskRedis(app)\n"
    )
    command = [sys.executable, "-m", "flask", "--app", "site_app", "redis", "ping"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "answers in" in result.stdout


class TestEmbeddedInProduction:
    """``embedded://`` is for development and tests, and says so elsewhere."""

    def warnings(self, caplog: pytest.LogCaptureFixture) -> list[str]:
        texts = [record.getMessage() for record in caplog.records if record.name == "flask_cloakroom.redis"]
        return [text for text in texts if "is for development and tests" in text]

    def use(self, app: Flask, times: int = 2) -> None:
        for _ in range(times):
            client = app.extensions["redis"]
            client.connection_pool.disconnect()
            client.ping()

    def test_a_client(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """One warning for an application, at its first use and not at start, however often it connects."""
        require_embedded()
        app = make_app(tmp_path, REDIS_URL="embedded://")
        FlaskRedis(app)
        assert not self.warnings(caplog)
        self.use(app)
        (text,) = self.warnings(caplog)
        assert text.startswith("site uses embedded://")

    @pytest.mark.parametrize("mode", ["debug", "testing"])
    def test_debug_mode_and_tests(self, mode: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """None there, also if that is said after the client was made."""
        require_embedded()
        app = make_app(tmp_path, REDIS_URL="embedded://")
        FlaskRedis(app)
        setattr(app, mode, True)
        self.use(app)
        assert not self.warnings(caplog)

    def test_sessions_alone(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """The same for an application that keeps only its sessions there."""
        require_embedded()
        caplog.set_level(logging.INFO)
        app = make_app(tmp_path, SESSION_STORE="embedded://")
        Session(app)
        with app.test_client().session_transaction() as session:
            session["user"] = "alice"
        assert len(self.warnings(caplog)) == 1
