"""Requests a second as a client sees them: gunicorn with two workers, under wrk, on the loopback interface.

The servers of all contestants run during the whole measurement, and all but one are idle. The contestants take turns in
each round. Requests use many sessions, so that the two workers seldom use the same one. A synchronous gunicorn worker
closes the connection after each answer, so a request includes connecting.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from apps import BARE_COOKIE, ONE_PROCESS, PAGES, Environment, make_app, start_session
from tools import free_port, listens, need, say, started

WORKERS = 2
CONNECTIONS = 8
SESSIONS = 100

#: Sends each request with the next cookie, and prints wrk's figures as one line of JSON.
_WRK_SCRIPT = """
local cookies = { %s }
local turn = 0
request = function()
  turn = turn %% #cookies + 1
  return wrk.format("GET", nil, { ["Cookie"] = cookies[turn] })
end
done = function(summary, latency)
  local bad = summary.errors
  io.write(string.format(
    '\\nRESULT {"rate": %%f, "p50": %%f, "p99": %%f, "failed": %%d}\\n',
    summary.requests / summary.duration * 1e6, latency:percentile(50), latency:percentile(99),
    bad.status + bad.connect + bad.read + bad.write + bad.timeout))
end
"""


@dataclass(frozen=True)
class Rate:
    """Medians over the rounds: requests a second, and microseconds that a client waits."""

    rate: float
    p50: float
    p99: float


def measure(contestants: list[str], environment: Environment, rounds: int, seconds: int) -> dict[str, dict[str, Rate]]:
    """Load each page of each contestant for ``seconds`` in each round."""
    chosen = [name for name in contestants if name not in ONE_PROCESS]
    runs: dict[tuple[str, str], list[Rate]] = {(name, page): [] for name in chosen for page in PAGES}
    with ExitStack() as servers:
        ports, scripts = {}, {}
        for name in chosen:
            say(f"starting gunicorn for {name}")
            ports[name] = _serve(name, environment, servers)
            scripts[name] = _script(name, environment)
        for number in range(rounds):
            say(f"served run: round {number + 1} of {rounds}")
            for page in PAGES:
                for name in chosen:
                    address = f"http://127.0.0.1:{ports[name]}{page}"
                    runs[name, page].append(_load(address, scripts[name], seconds))
    return {name: {page: _median(runs[name, page]) for page in PAGES} for name in chosen}


def _median(runs: list[Rate]) -> Rate:
    return Rate(*(median(getattr(run, field) for run in runs) for field in ("rate", "p50", "p99")))


def _serve(contestant: str, environment: Environment, servers: ExitStack) -> int:
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", str(WORKERS)]
    command += [
        "--log-level",
        "warning",
        "--no-control-socket",
        "--chdir",
        str(Path(__file__).parent),
        "apps:serve()",
    ]
    names = {"CONTESTANT": contestant, "SOCKET": environment.socket, "FOLDER": environment.folder}
    env = os.environ | {f"BENCHMARK_{name}": value for name, value in names.items()}
    servers.enter_context(started(command, partial(listens, ("127.0.0.1", port)), env))
    return port


def _script(contestant: str, environment: Environment) -> Path:
    """Start the sessions, and write a script that makes wrk send their cookies."""
    app = make_app(contestant, environment)
    cookies = [BARE_COOKIE] if contestant == "bare" else [start_session(app) for _ in range(SESSIONS)]
    path = Path(environment.folder) / f"{contestant}.lua"
    path.write_text(_WRK_SCRIPT % ", ".join(map(json.dumps, cookies)))
    return path


def _load(address: str, script: Path, seconds: int) -> Rate:
    command = [need("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), address]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 30)
    found = json.loads(ran.stdout.partition("RESULT ")[2])
    if found["failed"]:
        raise RuntimeError(f"{found['failed']} requests failed:\n{ran.stdout}")
    return Rate(found["rate"], found["p50"], found["p99"])
