"""Call a method in each forked child, so that the child does not use connections and locks of its parent."""

from __future__ import annotations

import os
import weakref
from typing import Any


def call_in_child(method: Any) -> None:
    """Call the bound method ``method`` in every child process that is forked later, as long as its object exists.

    The method must discard the parent's open connections, which the child must not use. Without this hook, every use
    of a connection would have to compare the process id, which costs a system call.
    """
    reference = weakref.WeakMethod(method)

    def after_fork() -> None:
        alive = reference()
        if alive is not None:
            alive()

    os.register_at_fork(after_in_child=after_fork)
