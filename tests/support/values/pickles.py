"""A pickle whose execution leaves a trace."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def touching_pickle(witness: Path, protocol: int) -> bytes:
    """Return a pickle that makes the file ``witness`` when it is executed."""

    class Payload:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {witness}",)

    return pickle.dumps(Payload(), protocol=protocol)
