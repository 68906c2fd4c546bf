"""How long a session lives: whether it is over, when to write its times anew, and how many seconds remain."""

from __future__ import annotations

from dataclasses import dataclass

from ..clock import CLOCK_SKEW, is_within
from .envelope import Header


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """The lifetimes of sessions, in seconds. Each method takes a header and the present time, in seconds since 1970."""

    #: The idle timeout.
    idle: int = 31 * 24 * 3600
    #: The absolute lifetime; None: no limit.
    absolute: int | None = None
    #: The age at which a ticket is renewed; None: never.
    renew_every: int | None = None
    #: The age of the last activity at which its time is written anew.
    refresh_after: int = 600

    def is_over(self, header: Header, now: float) -> bool:
        """Return whether a session has expired, even if the store missed the expiry.

        A session with its last activity in the future has not expired. Otherwise a clock that was set back would log
        out every user. A session that was created in the future has expired if there is an absolute lifetime, because
        its true age is unknown.
        """
        now = int(now)
        if now > header.seen + self.idle or (header.deadline and now > header.deadline):
            return True
        return self.absolute is not None and not is_within(now - header.created, self.absolute)

    def due(self, header: Header, now: float) -> tuple[bool, bool]:
        """Return whether a refresh is due, and whether a renewal is due."""
        unseen, age, every = now - header.seen, now - header.renewed, self.renew_every
        # A time in the future is due as well. Otherwise it would stay until the clock has reached it.
        refresh = unseen >= self.refresh_after or unseen < -CLOCK_SKEW
        return refresh, every is not None and (age >= every or age < -CLOCK_SKEW)

    def remaining(self, header: Header, now: float) -> int:
        """Return how many seconds a session may still live, rounded up, at least 1."""
        left = header.seen + self.idle + 1 - int(now)
        if header.deadline:
            left -= max(0, header.seen + self.idle - header.deadline)
        return self.idle if left > self.idle else max(1, left)
