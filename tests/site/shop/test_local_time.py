"""Times and days in time zones."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sched_site.diary import Appointment
from sched_site.local_time import NoSuchTimeError, format_time, start_of_day, to_local, to_utc, zone_names
from sched_site.week import days_of_week, split_by_day

BERLIN, BEIRUT, HAVANA = (ZoneInfo(name) for name in ("Europe/Berlin", "Asia/Beirut", "America/Havana"))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("shown", "moment"),
    [
        ("2026-01-15 12:00", "2026-01-15 11:00"),
        ("2026-07-15 12:00", "2026-07-15 10:00"),
        ("2026-03-29 01:59", "2026-03-29 00:59"),
        ("2026-03-29 03:00", "2026-03-29 01:00"),
        ("2026-10-25 02:00", "2026-10-25 00:00"),  # the first of the two
        ("2026-10-25 02:59", "2026-10-25 00:59"),
        ("2026-10-25 03:00", "2026-10-25 02:00"),
    ],
)
def test_instant(shown: str, moment: str) -> None:
    """What a clock shows is a moment, which is the first one where there are two; and back."""
    found = to_utc(datetime.fromisoformat(shown), BERLIN)
    assert found == utc(moment)
    assert found.tzinfo is UTC
    assert to_local(found, BERLIN) == datetime.fromisoformat(shown)


@pytest.mark.parametrize("shown", ["2026-03-29 02:00", "2026-03-29 02:30", "2026-03-29 02:59"])
def test_no_such_time(shown: str) -> None:
    """What no clock ever shows is an error."""
    with pytest.raises(NoSuchTimeError):
        to_utc(datetime.fromisoformat(shown), BERLIN)


def test_a_day_that_was_left_out() -> None:
    """A whole day can be missing: Samoa had no 30 December 2011."""
    with pytest.raises(NoSuchTimeError):
        to_utc(datetime(2011, 12, 30, 12), ZoneInfo("Pacific/Apia"))


def test_clock() -> None:
    """A time is written short, and with its zone in the hour that comes twice."""
    assert format_time(utc("2026-10-24 00:30"), BERLIN) == "02:30"
    assert format_time(utc("2026-10-25 00:30"), BERLIN) == "02:30 CEST"
    assert format_time(utc("2026-10-25 01:30"), BERLIN) == "02:30 CET"
    assert format_time(utc("2026-10-25 02:00"), BERLIN) == "03:00"


def test_begin_of_a_day() -> None:
    """A day begins at midnight; where there is none, when the clocks were set forward; the first one of two."""
    assert start_of_day(date(2026, 7, 1), BERLIN) == utc("2026-06-30 22:00")
    assert start_of_day(date(2026, 3, 29), BEIRUT) == utc("2026-03-28 22:00")  # which is 01:00
    assert format_time(start_of_day(date(2026, 3, 29), BEIRUT), BEIRUT) == "01:00"
    assert start_of_day(date(2026, 11, 1), HAVANA) == utc("2026-11-01 04:00")


def test_zone_names() -> None:
    """There are those in which people live, each once, and UTC; each of them can be loaded."""
    names = [name for names in zone_names().values() for name in names]
    assert names[0] == "UTC"
    assert {"Europe/Berlin", "America/New_York", "America/Argentina/Buenos_Aires", "Asia/Kathmandu"} <= set(names)
    assert len(names) == len(set(names))
    assert not {"localtime", "posixrules", "Factory", "Etc/GMT+1"} & set(names)
    assert all(ZoneInfo(name) for name in names)


def week(monday: date, zone: ZoneInfo, *times: str) -> list[list[str]]:
    appointment = Appointment(title="x", starts=utc(times[0]), ends=utc(times[1]))
    return [[entry.hours for entry in day.entries] for day in split_by_day(days_of_week(monday), [appointment], zone)]


MONDAY = date(2026, 11, 23)


@pytest.mark.parametrize(
    ("starts", "ends", "expected"),
    [
        ("2026-11-23 09:00", "2026-11-23 10:00", {0: "09:00 to 10:00"}),
        ("2026-11-23 00:00", "2026-11-23 10:00", {0: "00:00 to 10:00"}),
        ("2026-11-23 22:00", "2026-11-24 00:00", {0: "22:00 to 00:00"}),
        ("2026-11-23 22:00", "2026-11-24 06:00", {0: "from 22:00", 1: "until 06:00"}),
        ("2026-11-23 22:00", "2026-11-25 06:00", {0: "from 22:00", 1: "all day", 2: "until 06:00"}),
        ("2026-11-25 00:00", "2026-11-26 00:00", {2: "all day"}),
        ("2026-11-25 00:00", "2026-11-27 00:00", {2: "all day", 3: "all day"}),
        ("2026-11-22 22:00", "2026-11-23 01:00", {0: "until 01:00"}),
        ("2026-11-29 22:00", "2026-11-30 01:00", {6: "from 22:00"}),
        ("2026-11-01 00:00", "2026-12-31 00:00", dict.fromkeys(range(7), "all day")),
        ("2026-11-22 22:00", "2026-11-23 00:00", {}),
        ("2026-11-30 00:00", "2026-11-30 01:00", {}),
    ],
)
def test_week(starts: str, ends: str, expected: dict[int, str]) -> None:
    """An appointment stands on each of its days, with what it takes of it."""
    found = week(MONDAY, ZoneInfo("UTC"), starts, ends)
    assert {day: parts[0] for day, parts in enumerate(found) if parts} == expected


def test_week_in_another_zone() -> None:
    """The same appointment is on other days by other clocks."""
    assert week(MONDAY, ZoneInfo("Asia/Tokyo"), "2026-11-23 14:00", "2026-11-23 16:00")[:2] == [
        ["from 23:00"],
        ["until 01:00"],
    ]


def test_a_day_of_23_hours() -> None:
    """A day is whole from its first to its last moment, also when it is short."""
    sunday = start_of_day(date(2026, 3, 29), BERLIN)
    monday = start_of_day(date(2026, 3, 30), BERLIN)
    assert monday - sunday == timedelta(hours=23)
    times = [f"{moment:%Y-%m-%d %H:%M}" for moment in (sunday, monday)]
    assert week(date(2026, 3, 23), BERLIN, *times) == [[]] * 6 + [["all day"]]
