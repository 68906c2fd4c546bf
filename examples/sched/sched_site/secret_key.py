"""The key that the site signs with, when the environment gives none."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

FILE = "secret_key"


def kept_in(folder: Path) -> str:
    """Return the key that is kept in ``folder``, and make it the first time, readable for its owner alone.

    It appears there whole or not at all, and of several processes that start at once the first one's counts for all.
    """
    path = folder / FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=folder, prefix=f".{FILE}-") as file:  # has the mode 0600
            file.write(secrets.token_hex())
            file.flush()
            os.fsync(file.fileno())
            with suppress(FileExistsError):  # another process was faster, and its key is as good
                os.link(file.name, path)
    return path.read_text().strip()
