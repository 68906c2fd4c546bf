"""A real nginx in front of what a test serves."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import IO

from support.sched.processes import missing

#: Where nginx keeps what it does not keep in memory. The package's own folders are root's.
FOLDERS = "".join(f"{kind}_temp_path {kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))


def listens(port: int) -> bool:
    """Tell whether something listens on a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def start_nginx(folder: Path, conf: str, log: IO[str]) -> subprocess.Popen[str]:
    """Start nginx with a configuration that has a block ``http``; everything that it writes is in the folder."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        missing("nginx")
    assert nginx is not None
    (folder / "nginx.conf").write_text(conf.replace("http {", "http {" + FOLDERS, 1))
    # A test's folder is for its own user alone, and started by root nginx would work as "nobody".
    user = "" if os.getuid() else "user root;"
    directives = f"daemon off; pid {folder}/pid; error_log stderr; {user}"
    command = [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", directives]
    return subprocess.Popen(command, stderr=log, text=True)
