"""Ages of stored things: the clocks of servers differ, and a clock can be set back."""

from __future__ import annotations

from typing import Final

#: Seconds that the clocks of an application's servers may differ. Servers that set their clocks over the network are
#: less than a second apart; a minute leaves room for one that has lost its time server.
CLOCK_SKEW: Final = 60


def is_within(age: float, limit: float) -> bool:
    """Return whether something of this age is at most ``limit`` seconds old. ``age``: now minus the stored time.

    An age below minus :data:`CLOCK_SKEW` counts as too old. The clock was set back then, so the true age is unknown,
    and a used token must not become good again.
    """
    return -CLOCK_SKEW <= age <= limit


def is_running(until_ms: int, now_ms: int, longest: float) -> bool:
    """Return whether a lease has not ended. ``until_ms`` and ``now_ms`` are milliseconds since the epoch.

    ``longest``: seconds that a lease lasts at the most. A lease that ends later than that, and :data:`CLOCK_SKEW`, was
    made before the clock was set back, so it is over.
    """
    return 0 < until_ms - now_ms <= (longest + CLOCK_SKEW) * 1000
