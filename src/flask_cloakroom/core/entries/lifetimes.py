"""The lifetimes of a session: whether it has expired or needs a refresh or renewal, and how long it may still live."""

from __future__ import annotations

from dataclasses import dataclass

from ..clock import CLOCK_SKEW, is_within
from .envelope import Header


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """The lifetimes of sessions, in seconds.

    Each method takes a session's header and ``now``, the present time in seconds since the epoch.
    """

    #: The idle timeout.
    idle: int = 31 * 24 * 3600
    #: The absolute lifetime. None: sessions have no absolute lifetime.
    absolute: int | None = None
    #: The age of a ticket at which the session is renewed. None: sessions are never renewed.
    renew_every: int | None = None
    #: The age of the stored time of the last activity at which a request writes a newer time.
    refresh_after: int = 600

    def is_over(self, header: Header, now: float) -> bool:
        """Return True if a session has expired, even if the store still has its entry. Return False otherwise.

        If the time of the last activity is in the future, the clock was set back. Such a session has not expired,
        because otherwise every user would be logged out. If the time of the creation is in the future, the true age of
        the session is unknown. Then the session has expired if sessions have an absolute lifetime.
        """
        now = int(now)
        if now > header.seen + self.idle or (header.deadline and now > header.deadline):
            return True
        return self.absolute is not None and not is_within(now - header.created, self.absolute)

    def due(self, header: Header, now: float) -> tuple[bool, bool]:
        """Return two values: True if the session needs a refresh, and True if it needs a renewal."""
        unseen, age, every = now - header.seen, now - header.renewed, self.renew_every
        # A stored time in the future is also replaced. Otherwise it would stay until the clock has reached this time.
        refresh = unseen >= self.refresh_after or unseen < -CLOCK_SKEW
        return refresh, every is not None and (age >= every or age < -CLOCK_SKEW)

    def remaining(self, header: Header, now: float) -> int:
        """Return the number of seconds for which a session may still live: a whole number, at least 1."""
        left = header.seen + self.idle + 1 - int(now)
        if header.deadline:
            left -= max(0, header.seen + self.idle - header.deadline)
        return self.idle if left > self.idle else max(1, left)
