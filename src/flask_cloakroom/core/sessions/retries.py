"""Call functions again that have failed because the store was down, such as the revocation of a remember token."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from threading import Lock

from ...errors import StoreError
from ...first_use import tell

log = logging.getLogger("flask_cloakroom.sessions")


class Retries:
    """The functions of one process that wait for another call. The process forgets them when it ends."""

    def __init__(self, most: int) -> None:
        """Make an empty list of at most ``most`` functions. A further function takes the place of the oldest one."""
        self.waiting: deque[Callable[[], object]] = deque(maxlen=most)
        self._lock = Lock()

    def run(self) -> None:
        """Call the functions that wait, until the store fails. The others wait for the next call of this method.

        No error of a function leaves this method, because the present request has nothing to do with the function.
        """
        if not self._lock.acquire(blocking=False):
            return  # another thread calls the functions, or one of the functions has called this method
        try:
            for _ in range(len(self.waiting)):
                function = self.waiting.popleft()
                try:
                    function()
                except StoreError as error:
                    tell(log.warning, "an earlier request was not ended. A later request tries again: %s", error)
                    self.waiting.append(function)
                    return
                except Exception:
                    tell(log.exception, "an earlier request could not be ended")
        finally:
            self._lock.release()
