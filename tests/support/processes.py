"""Python in a process of its own, where this process's imports do not count."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

import flask_cloakroom
from support import DROPIN

#: The package's folder, and the one that it is imported from.
PACKAGE = Path(flask_cloakroom.__file__).parent
SOURCE = PACKAGE.parent


def run(code: str, *arguments: str, options: Iterable[str] = (), cwd: Path) -> str:
    """Run Python code in a process of its own, where every warning is an error; return what it prints."""
    result = subprocess.run(
        [sys.executable, "-W", "error", *options, "-c", textwrap.dedent(code), *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), str(DROPIN)])},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.strip()
