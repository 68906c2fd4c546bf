"""The programs that these tests run: a Redis, and the site as a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import pytest

from support import ROOT
from support.clock import TEST_TIMEOUT, wait_until
from support.servers.redis_server import free_port

SITE = ROOT / "examples" / "sched"


def missing(what: str) -> None:
    """Skip the test by name, or fail it where a skipped server is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI=true")
    pytest.skip(f"{what} is not installed")


def await_line(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """Read the process's output up to the line that matches; EOFError, with what it said, if it ends before."""
    assert process.stdout is not None
    watchdog = threading.Timer(TEST_TIMEOUT, process.kill)
    watchdog.start()
    said = []
    try:
        for line in process.stdout:
            said.append(line)
            if found := re.search(pattern, line):
                return found
        raise EOFError("".join(said))
    finally:
        watchdog.cancel()


def end(process: subprocess.Popen[str], how: signal.Signals) -> int:
    """End the process and return its exit code."""
    if process.poll() is None:
        process.send_signal(how)
    try:
        return process.wait(TEST_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


class RedisServer:
    """A real redis-server on a loopback port of its own, which can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, on the port that it had before if there was one."""
        for _ in range(10):
            port = self.port or free_port()
            command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
            self._process = subprocess.Popen(
                [*command, "--save", "", "--appendonly", "yes"], stdout=subprocess.PIPE, text=True, bufsize=1
            )
            try:
                await_line(self._process, "Ready to accept connections")
            except EOFError:  # somebody else was faster with that port
                self.stop()
                continue
            self.port = port
            return
        raise RuntimeError("found no free port for redis-server")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def stop(self) -> None:
        """End it; what it holds is on the disk."""
        end(self._process, signal.SIGTERM)
        assert self._process.stdout is not None
        self._process.stdout.close()


def eventually(holds: Callable[[], object]) -> None:
    """Wait until something holds, and fail if it takes too long."""
    wait_until(holds, "what the test waits for")


class Answer(NamedTuple):
    """What the site answered; ``cookie`` is what a browser would send back, empty if none was set."""

    status: int
    text: str
    cookie: str


def site_environment(**settings: str) -> dict[str, str]:
    """The environment for a process that runs the site, with no setting of the one who runs the tests."""
    path = os.pathsep.join([str(SITE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, **settings}


def run_site(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a site that cannot start, with these arguments and settings, until it ends. Return its code and output."""
    command = [sys.executable, "-m", "sched_site", *arguments]
    return subprocess.run(command, env=site_environment(**settings), capture_output=True, text=True)


class Stream:
    """A stream of server-sent events, read as it comes in."""

    def __init__(self, url: str, cookie: str) -> None:
        self._connection = HTTPConnection(urlsplit(url).netloc, timeout=TEST_TIMEOUT)
        self._connection.request("GET", "/notices", headers={"Cookie": cookie})
        self.response = self._connection.getresponse()

    def next(self) -> str:
        """Return what comes in up to the next empty line; "" at the end of the stream."""
        lines: list[str] = []
        while line := self.response.readline().decode():
            if line == "\n":
                break
            lines.append(line)
        return "".join(lines)

    def close(self) -> None:
        """Go away, as a browser does that leaves the page."""
        self.response.close()
        self._connection.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Site:
    """The site as its visitors meet it: a process of its own, listening on a loopback port."""

    def __init__(self, **settings: str) -> None:
        self.settings = settings
        self._start(0)

    def _start(self, port: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sched_site", "--port", str(port)],
            env=site_environment(**self.settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
        )
        self.url = await_line(self.process, r"http://127\.0\.0\.1:\d+")[0]

    def restart(self, how: signal.Signals) -> None:
        """End it in that way, and start it again at the same address."""
        port = urlsplit(self.url).port
        assert port is not None
        self.stop(how)
        self._start(port)

    def request(self, method: str, path: str, *, cookie: str = "", **form: str) -> Answer:
        """Ask the site for something, following no redirect."""
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie, "Origin": self.url}
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=TEST_TIMEOUT)
        try:
            connection.request(method, path, urlencode(form) if method == "POST" else None, headers)
            response = connection.getresponse()
            set_cookie = response.getheader("Set-Cookie", "").partition(";")[0]
            return Answer(response.status, response.read().decode(), set_cookie)
        finally:
            connection.close()

    def listen(self, cookie: str) -> Stream:
        """Open the stream of notices."""
        return Stream(self.url, cookie)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """End it; return its exit code and what it said since it gave its address."""
        code = end(self.process, how)
        assert self.process.stdout is not None
        with self.process.stdout as said:
            return code, said.read()

    def __enter__(self) -> Site:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process.stdout is not None
        if not self.process.stdout.closed:
            self.stop()
