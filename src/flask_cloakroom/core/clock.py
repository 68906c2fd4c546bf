"""Compare stored times with the present time. Servers' clocks differ, and an administrator can set a clock back."""

from __future__ import annotations

from typing import Final

#: Seconds by which the clocks of an application's servers may differ. Servers that set their clocks over the network
#: differ by less than a second. A minute leaves room for a server that has lost its time server.
CLOCK_SKEW: Final = 60


def is_within(age: float, limit: float) -> bool:
    """Return whether an age is at most ``limit`` seconds. ``age``: now minus the stored time, in seconds.

    An age below minus :data:`CLOCK_SKEW` counts as too old, because the clock was set back and the true age is unknown.
    Otherwise a used token would become valid again.
    """
    return -CLOCK_SKEW <= age <= limit


def is_running(until_ms: int, now_ms: int, longest: float) -> bool:
    """Return whether a lease still runs. ``until_ms`` and ``now_ms``: milliseconds since the epoch.

    ``longest``: the most seconds that a lease may last. A lease with more time left was made before the clock was set
    back, so it counts as over. Otherwise it would lock out every request until the clock reaches the old time.
    """
    return 0 < until_ms - now_ms <= (longest + CLOCK_SKEW) * 1000
