"""Moments and the clocks of people: what is stored is UTC, and what is shown and typed is the time of a zone.

Times are compared in UTC alone. Python compares two of one zone by what the clock shows, which is wrong in the hour
that is repeated when the clocks are set back.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

#: Where zones are that people live in. The rest are older names of the same, and such as have no place.
REGIONS = (*("Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific"),)
#: The zone of those who have not chosen one.
DEFAULT_ZONE = "UTC"


class NoSuchTimeError(ValueError):
    """The clocks of that zone never show that time on that day: they are set forward over it."""


@cache
def zone_names() -> Mapping[str, tuple[str, ...]]:
    """Return the names of all zones by region, with UTC first, as a region of its own."""
    names = sorted(available_timezones())
    by_region = {region: tuple(name for name in names if name.startswith(f"{region}/")) for region in REGIONS}
    return {DEFAULT_ZONE: (DEFAULT_ZONE,), **by_region}


def instant(shown: datetime, zone: ZoneInfo) -> datetime:
    """Return the moment, in UTC, at which clocks of the zone show a time. The first one, if they show it twice.

    Raises NoSuchTimeError if they never do.
    """
    moment = shown.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if clock_face(moment, zone) != shown:
        raise NoSuchTimeError(f"{zone.key} has no {shown}")
    return moment


def clock_face(moment: datetime, zone: ZoneInfo) -> datetime:
    """Return what clocks of the zone show at a moment, with no zone on it, as a form has it."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def day_of(moment: datetime, zone: ZoneInfo) -> date:
    """Return which day it is in the zone."""
    return moment.astimezone(zone).date()


def begin_of(day: date, zone: ZoneInfo) -> datetime:
    """Return the moment, in UTC, at which a day begins: midnight, or later where clocks are set forward then."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def clock(moment: datetime, zone: ZoneInfo) -> str:
    """Write a time of day. In an hour that is repeated it says which of the two: "02:30 CEST"."""
    local = moment.astimezone(zone)
    is_repeated = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
    return local.strftime("%H:%M %Z" if is_repeated else "%H:%M")
