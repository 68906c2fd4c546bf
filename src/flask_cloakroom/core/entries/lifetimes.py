"""How long sessions live: whether one is over, what of it is due to be written anew, and how long it may still live."""

from __future__ import annotations

from dataclasses import dataclass

from ..clock import CLOCK_SKEW, is_within
from .envelope import Header


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long sessions live, in seconds. ``absolute`` and ``renew_every`` may be None: no limit, never.

    Each method takes a session's header and the present time, in seconds since the epoch.
    """

    idle: int = 31 * 24 * 3600
    absolute: int | None = None
    renew_every: int | None = None
    #: Age of "last seen" from which on it is written anew.
    refresh_after: int = 600

    def is_over(self, header: Header, now: float) -> bool:
        """Check the deadlines here too, so that a store that loses an expiry cannot lengthen a session.

        A session that was last seen in the future stays, because a clock that was set back must not log everybody out;
        :meth:`due` has that time written anew. One that began in the future is over if there is an absolute lifetime,
        because nobody knows how much of that has passed.
        """
        now = int(now)
        if now > header.seen + self.idle or (header.deadline and now > header.deadline):
            return True
        return self.absolute is not None and not is_within(now - header.created, self.absolute)

    def due(self, header: Header, now: float) -> tuple[bool, bool]:
        """Tell whether "last seen" should be written anew, and whether the ticket should be renewed."""
        unseen, age, every = now - header.seen, now - header.renewed, self.renew_every
        # A time in the future is written anew as well, or it would stay there until the clock has reached it.
        stale = unseen >= self.refresh_after or unseen < -CLOCK_SKEW
        return stale, every is not None and (age >= every or age < -CLOCK_SKEW)

    def remaining(self, header: Header, now: float) -> int:
        """Return for how many whole seconds, rounded up, the session may still live; at least 1."""
        left = header.seen + self.idle + 1 - int(now)
        if header.deadline:
            left -= max(0, header.seen + self.idle - header.deadline)
        return self.idle if left > self.idle else max(1, left)
