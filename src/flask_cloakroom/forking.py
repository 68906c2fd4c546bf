"""Call a method in each forked child, to replace connections and locks that a child must not inherit."""

from __future__ import annotations

import os
import weakref
from typing import Any


def call_in_child(method: Any) -> None:
    """Call a bound method in every process that is forked from now on, as long as the method's object lives.

    A child must not use the open connections of its parent. The other way to notice a fork is to ask for the process id
    at each use, which costs a system call.
    """
    reference = weakref.WeakMethod(method)

    def after_fork() -> None:
        alive = reference()
        if alive is not None:
            alive()

    os.register_at_fork(after_in_child=after_fork)
