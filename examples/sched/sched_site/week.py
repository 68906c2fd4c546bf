"""A week of the calendar: the appointments of each of its days."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from .diary import Appointment
from .local_time import format_time, start_of_day

DAYS = 7


class DayEntry(NamedTuple):
    """The part of an appointment that lies on one day."""

    appointment: Appointment
    #: The hours on that day in words: "14:00 to 15:00", "from 22:00", "until 06:00" or "all day".
    hours: str


class Day(NamedTuple):
    """A day and its entries, the earliest first."""

    date: date
    entries: list[DayEntry]


def days_of_week(monday: date) -> list[date]:
    """Return the seven days of the week that begins on this Monday."""
    return [monday + timedelta(days=number) for number in range(DAYS)]


def split_by_day(days: Sequence[date], appointments: Sequence[Appointment], zone: ZoneInfo) -> list[Day]:
    """Return the days with their appointments in a time zone. A long appointment has an entry on several days."""
    return [Day(day, [entry for one in appointments if (entry := _entry(one, day, zone))]) for day in days]


def _entry(appointment: Appointment, day: date, zone: ZoneInfo) -> DayEntry | None:
    begin, end = start_of_day(day, zone), start_of_day(day + timedelta(days=1), zone)
    if appointment.starts >= end or appointment.ends <= begin:
        return None
    starts, ends = format_time(appointment.starts, zone), format_time(appointment.ends, zone)
    starts_before, ends_after = appointment.starts < begin, appointment.ends > end
    match (starts_before or appointment.starts == begin, ends_after or appointment.ends == end):
        case (True, True):
            return DayEntry(appointment, "all day")
        case (True, False) if starts_before:
            return DayEntry(appointment, f"until {ends}")
        case (False, True) if ends_after:
            return DayEntry(appointment, f"from {starts}")
    return DayEntry(appointment, f"{starts} to {ends}")
