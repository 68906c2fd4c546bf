"""A week of the calendar, as its days have it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from .diary import Appointment
from .local_time import begin_of, clock

DAYS = 7


class Part(NamedTuple):
    """As much of an appointment as is on one day."""

    appointment: Appointment
    #: From when to when, in words: "14:00 to 15:00", "from 22:00", "until 06:00", "all day".
    when: str


class Day(NamedTuple):
    """A day, and what there is on it, the earliest first."""

    date: date
    parts: list[Part]


def days_of(monday: date) -> list[date]:
    """Return the days of the week that begins then."""
    return [monday + timedelta(days=number) for number in range(DAYS)]


def in_days(days: Sequence[date], appointments: Sequence[Appointment], zone: ZoneInfo) -> list[Day]:
    """Put appointments onto the days on which they are, by the clocks of a zone. One may be on several."""
    return [Day(day, [part for one in appointments if (part := _part(one, day, zone))]) for day in days]


def _part(appointment: Appointment, day: date, zone: ZoneInfo) -> Part | None:
    begin, end = begin_of(day, zone), begin_of(day + timedelta(days=1), zone)
    if appointment.starts >= end or appointment.ends <= begin:
        return None
    starts, ends = clock(appointment.starts, zone), clock(appointment.ends, zone)
    goes_on_before, goes_on_after = appointment.starts < begin, appointment.ends > end
    match (goes_on_before or appointment.starts == begin, goes_on_after or appointment.ends == end):
        case (True, True):
            return Part(appointment, "all day")
        case (True, False) if goes_on_before:
            return Part(appointment, f"until {ends}")
        case (False, True) if goes_on_after:
            return Part(appointment, f"from {starts}")
    return Part(appointment, f"{starts} to {ends}")
