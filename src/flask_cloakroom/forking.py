"""What must not outlive a fork: connections, and locks that another thread held."""

from __future__ import annotations

import os
import weakref
from typing import Any


def call_in_child(method: Any) -> None:
    """Call a bound method in every process that is forked from now on, while its object lives.

    What a parent has open must not be used by a child, and asking for the process id at each call costs a system
    call each time.
    """
    reference = weakref.WeakMethod(method)

    def after_fork() -> None:
        alive = reference()
        if alive is not None:
            alive()

    os.register_at_fork(after_in_child=after_fork)
