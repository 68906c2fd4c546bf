"""The site as a program, and the functions of script/lib.sh that install it."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from sched_site import __main__ as program

from support.sched.processes import SITE, Site, run_site, site_environment

SCRIPT = SITE.parents[1] / "script"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stops_and_starts_again(tmp_path: Path, how: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end the site cleanly, and whatever ended it, the next start finds what was there."""
    settings = {"SCHED_SESSION_STORE": f"sqlite:///{tmp_path}/sessions.sqlite3"}
    with Site(**settings) as site:
        cookie = site.request("POST", "/cart/add", product="desk-bell").cookie
        code, said = site.stop(how)
        assert "Traceback" not in said
        if how != signal.SIGKILL:
            assert code == 0
            assert said.endswith("\nStopped.\n")
    with Site(**settings) as site:
        assert "Desk bell" in site.request("GET", "/cart", cookie=cookie).text


def test_says_what_one_needs_to_know(tmp_path: Path) -> None:
    """At the start it tells the address, the store and the sample accounts."""
    with Site(SCHED_SESSION_STORE=f"sqlite:///{tmp_path}/mine.sqlite3") as site:
        assert site.request("GET", "/health").text == '{"status":"ok"}\n'
        _, said = site.stop()
    assert "SQLite (mine.sqlite3)" in said
    assert "Accounts          SQLite (sched.sqlite3)" in said
    assert "mira / half-past-nine" in said


def test_site_that_attacks() -> None:
    """Another site is served beside it, on a port of its own of this machine, and ends with it; "off" leaves it out."""
    with Site() as site:
        page = site.request("GET", "/attack").text
        port = int(re.findall(r'href="http://127\.0\.0\.1:(\d+)/"', page)[0])
        with urlopen(f"http://127.0.0.1:{port}/") as other:
            assert f'action="{site.url}/cart/empty"' in other.read().decode()
        _, said = site.stop()
        assert f"Attacking site    http://127.0.0.1:{port} " in said
    with socket.create_server(("127.0.0.1", port)):
        pass  # nobody listens there any more
    with Site(SCHED_ATTACKER_PORT="off") as site:
        assert site.request("GET", "/attack").status == 404
        assert "Attacking" not in site.stop()[1]


@pytest.mark.parametrize("port", ["eighty", "-1", "65536"])
def test_port_of_the_other_site_makes_no_sense(port: str) -> None:
    """A port that cannot be one is told by the setting's name."""
    with pytest.raises(
        SystemExit, match=f"SCHED_ATTACKER_PORT must be a number from 0 to 65535, or \"off\", not '{port}'"
    ):
        program._listen_for_attacker(port)


def test_port_of_the_other_site_is_taken() -> None:
    """A port that somebody else has is told by the setting's name."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(SystemExit, match=f"SCHED_ATTACKER_PORT {port} cannot be used: Address already in use"):
            program._listen_for_attacker(port)


@pytest.mark.parametrize("by_environment", [False, True])
def test_port_is_taken(by_environment: bool) -> None:
    """A port that was asked for and is taken is told in one sentence."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_site(*([] if by_environment else ["--port", port]), PORT=port if by_environment else "")
    assert done.returncode == 1
    assert done.stderr == f"Port {port} is in use by another program. Choose another port with --port or PORT.\n"


@pytest.mark.parametrize("port", ["eighty", "-1", "65536"])
def test_port_makes_no_sense(port: str) -> None:
    """A port that cannot be one is told as a mistake of the command line."""
    done = run_site(f"--port={port}")
    assert done.returncode == 2
    assert port in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_setting() -> None:
    """A setting that makes no sense is told by its name and not by a traceback."""
    done = run_site("--port=0", REDIS_URL="carrier-pigeon://coop")
    assert done.returncode == 1
    assert done.stderr.startswith("The site cannot start. REDIS_URL: ")
    assert "Traceback" not in done.stderr


def test_next_free_port(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """When nobody asked for a port and the usual one is taken, the next free one is used, and said."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(program, "DEFAULT_PORT", port)
        with program._listen(None) as listener:
            found = listener.getsockname()[1]
    assert port < found <= port + program.MORE_PORTS
    assert capsys.readouterr().out == f"Port {port} is in use. The site uses port {found}.\n"


def bash(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f'set -euo pipefail; . "{SCRIPT}/lib.sh"; {script}'],
        cwd=folder,
        env={**site_environment(), **environment},
        capture_output=True,
        text=True,
    )


def fake_command(folder: Path, name: str, body: str) -> None:
    """A stand-in: a command of that name that does what the body says."""
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def test_demo_help(tmp_path: Path) -> None:
    """script/demo --help explains it from any folder, and installs nothing; a wrong option is told."""
    helped = subprocess.run([SCRIPT / "demo", "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert helped.returncode == 0
    assert "--port PORT" in helped.stdout
    wrong = subprocess.run([SCRIPT / "demo", "--prot", "1"], cwd=tmp_path, capture_output=True, text=True)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "--port PORT" in wrong.stderr


def test_find_python(tmp_path: Path) -> None:
    """A Python that is too old, or a command that only looks like one, is passed over for one that works."""
    fake_command(tmp_path, "python3", "exit 1")
    fake_command(tmp_path, "python3.13", "echo 'python3.13: command not found' >&2; exit 127")
    fake_command(tmp_path, "python3.12", f'exec "{sys.executable}" "$@"')
    found = bash("find_python", tmp_path, PATH=f"{tmp_path}:/usr/bin:/bin", PYTHON="")
    assert found.stdout == f"{tmp_path}/python3.12\n"


def test_find_no_python(tmp_path: Path) -> None:
    """Without any Python that is new enough the message says what is needed."""
    for name in ("python3", "python3.14", "python3.13", "python3.12", "python3.11"):
        fake_command(tmp_path, name, "exit 1")
    found = bash("find_python", tmp_path, PATH=f"{tmp_path}:/usr/bin:/bin", PYTHON="")
    assert found.returncode == 1
    assert "This needs Python 3.11 or newer" in found.stderr


def test_make_venv(tmp_path: Path) -> None:
    """An environment is made once, used again, and made anew when what it was made from has changed."""
    (tmp_path / "needs.txt").write_text("")
    make = 'make_venv "$PWD/env" needs.txt -- --no-index --quiet pip'
    first = bash(make, tmp_path, PYTHON=sys.executable)
    assert first.returncode == 0, first.stderr
    assert "Making env with Python 3." in first.stdout
    marker = tmp_path / "env" / "marker"
    marker.touch()
    assert bash(make, tmp_path, PYTHON=sys.executable).stdout == "· Using what is installed in env\n"
    assert marker.exists()
    (tmp_path / "needs.txt").write_text("something else")
    assert "Making env" in bash(make, tmp_path, PYTHON=sys.executable).stdout
    assert not marker.exists()


def test_make_venv_that_fails(tmp_path: Path) -> None:
    """When pip fails its words are shown, and the next start tries again."""
    make = 'make_venv "$PWD/env" -- --no-index no-such-package-anywhere; echo REACHED'
    for _ in range(2):
        done = bash(make, tmp_path, PYTHON=sys.executable)
        assert done.returncode == 1
        assert "Making env" in done.stdout
        assert "REACHED" not in done.stdout
        assert "no-such-package-anywhere" in done.stderr


def test_make_venv_spares_what_is_not_one(tmp_path: Path) -> None:
    """A folder that is in the way and no environment is left alone."""
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "letter.txt").write_text("dear")
    done = bash('make_venv "$PWD/env" -- pip', tmp_path, PYTHON=sys.executable)
    assert done.returncode == 1
    assert "is no virtual environment" in done.stderr
    assert (tmp_path / "env" / "letter.txt").read_text() == "dear"


def python_without_venv(folder: Path) -> dict[str, str]:
    """A stand-in for Debian's python3 without python3-venv: it has the module once the file "venv" is there."""
    lacks = f'[ "$2" = "import ensurepip, venv" ] && [ ! -e "{folder}/venv" ] && exit 1'
    fake_command(folder, "python3", f'{lacks}; exec "{sys.executable}" "$@"')
    return {"PATH": f"{folder}:/usr/bin:/bin", "PYTHON": ""}


def test_python_without_venv(tmp_path: Path) -> None:
    """Where Python cannot make environments and the user may not install, the message names the package."""
    environment = python_without_venv(tmp_path)
    fake_command(tmp_path, "id", "echo 1000")
    done = bash('make_venv "$PWD/env" -- pip', tmp_path, **environment)
    assert done.returncode == 1
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    assert f"sudo apt-get install {version}-venv" in done.stderr


def test_root_without_venv(tmp_path: Path) -> None:
    """Where Python cannot make environments and the user is root, the system's package is installed, and said."""
    environment = python_without_venv(tmp_path)
    fake_command(tmp_path, "id", "echo 0")
    fake_command(tmp_path, "apt-get", f'[ "$1" = update ] || touch "{tmp_path}/venv"')
    done = bash('make_venv "$PWD/env" -- --no-index pip', tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert "Installing the system's package python3." in done.stdout
    assert (tmp_path / "env" / "stamp").exists()
