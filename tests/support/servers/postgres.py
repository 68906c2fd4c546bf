"""A real PostgreSQL for these tests, and databases in it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from itertools import count
from pathlib import Path

import psycopg

from support.sched.processes import await_line, end, missing

#: PostgreSQL refuses to run as root. Debian's package makes this user.
USER = "postgres"


def _program(name: str) -> str:
    """Return the path of a program of PostgreSQL's server, which Debian keeps off the PATH; skip the test without."""
    places = [str(path) for path in Path("/usr/lib/postgresql").glob("*/bin")]
    path = shutil.which(name, path=os.pathsep.join([*sorted(places, reverse=True), os.environ.get("PATH", "")]))
    if path is None:
        missing("PostgreSQL")
    assert path is not None
    return path


class PostgresServer:
    """A PostgreSQL of one's own, on a loopback port, with nothing in it."""

    def __init__(self) -> None:
        initdb, postgres = _program("initdb"), _program("postgres")
        # Not in pytest's folder, into which nobody but root can look.
        self._folder = Path(tempfile.mkdtemp(prefix="sched-postgres-"))
        user = USER if os.getuid() == 0 else None
        if user is not None:
            shutil.chown(self._folder, user)
        data = str(self._folder / "data")
        made = [initdb, "-D", data, "-U", "sched", "--auth=trust", "--encoding=UTF8", "--no-sync"]
        subprocess.run(made, user=user, cwd=self._folder, check=True, stdout=subprocess.DEVNULL)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self._process = subprocess.Popen(
            [postgres, "-D", data, "-p", str(self._port), "-h", "127.0.0.1", "-k", "", "-F"],
            user=user,
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        await_line(self._process, "ready to accept connections")
        self._numbers = count(1)

    def new_database(self) -> str:
        """Make an empty database, and return its address as SQLAlchemy spells it."""
        name = f"sched{next(self._numbers)}"
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self._address(name).replace("postgresql:", "postgresql+psycopg:")

    def stop(self) -> None:
        """End it, at once, and drop all that it had."""
        end(self._process, signal.SIGQUIT)
        assert self._process.stdout is not None
        self._process.stdout.close()
        shutil.rmtree(self._folder)

    def _address(self, database: str) -> str:
        return f"postgresql://sched@127.0.0.1:{self._port}/{database}"
