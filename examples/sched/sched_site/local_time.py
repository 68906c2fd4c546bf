"""Conversions between UTC, which the database stores, and the local time of a time zone, which people see and type.

Compare times in UTC only. Python compares two times of the same zone by their local time, which is wrong in the hour
that is repeated when clocks are set back.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

#: The regions of the time zones that a user can choose. The other names are aliases, or zones without a place.
REGIONS = (*("Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific"),)
#: The time zone of a user who has not chosen one.
DEFAULT_ZONE = "UTC"


class NoSuchTimeError(ValueError):
    """The local time does not exist, because the clocks go forward over it."""


@cache
def zone_names() -> Mapping[str, tuple[str, ...]]:
    """Return the names of all time zones by region. UTC comes first, as a region of its own."""
    names = sorted(available_timezones())
    by_region = {region: tuple(name for name in names if name.startswith(f"{region}/")) for region in REGIONS}
    return {DEFAULT_ZONE: (DEFAULT_ZONE,), **by_region}


def to_utc(local: datetime, zone: ZoneInfo) -> datetime:
    """Convert a local time without a zone to UTC. Return the first of two moments if clocks show the time twice.

    Raises NoSuchTimeError for a local time that does not exist.
    """
    moment = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if to_local(moment, zone) != local:
        raise NoSuchTimeError(f"{zone.key} has no {local}")
    return moment


def to_local(moment: datetime, zone: ZoneInfo) -> datetime:
    """Convert a moment to the local time of a zone. The result has no tzinfo, as a form needs it."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def local_date(moment: datetime, zone: ZoneInfo) -> date:
    """Return the date of a moment in a time zone."""
    return moment.astimezone(zone).date()


def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """Return the start of a day in UTC: midnight, or later if clocks go forward at midnight."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def format_time(moment: datetime, zone: ZoneInfo) -> str:
    """Return a time of day such as "14:30". In an hour that is repeated it has the zone, such as "02:30 CEST"."""
    local = moment.astimezone(zone)
    is_repeated = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
    return local.strftime("%H:%M %Z" if is_repeated else "%H:%M")
