"""Compare stored times with the present time, although servers' clocks differ and can be set back."""

from __future__ import annotations

from typing import Final

#: The largest difference between the clocks of an application's servers, in seconds. Servers that set their clocks over
#: the network differ by less than a second. A minute also allows for a server that cannot reach its time server.
CLOCK_SKEW: Final = 60


def is_within(age: float, limit: float) -> bool:
    """Return True if an age is at most ``limit`` seconds. ``age``: the present time minus the stored time, in seconds.

    Return False also for an age below minus :data:`CLOCK_SKEW`, which means that the clock was set back. Then the true
    age is unknown. If such an age counted as young, an old token could become valid again.
    """
    return -CLOCK_SKEW <= age <= limit


def is_running(until_ms: int, now_ms: int, longest: float) -> bool:
    """Return True if a lease has not ended. ``until_ms``: the end of the lease. ``now_ms``: the present time.

    Both times are in milliseconds since the epoch. ``longest``: the longest time that a lease may last, in seconds. A
    lease with more time left was made before the clock was set back, and counts as ended. Otherwise the lease would
    block every request until the clock reaches the old time again.
    """
    return 0 < until_ms - now_ms <= (longest + CLOCK_SKEW) * 1000
