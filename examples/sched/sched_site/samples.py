"""What is there from the start, so that a visitor can try: the sample accounts, and their appointments."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from flask import Flask
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from . import database, local_time, passwords
from .accounts import SAMPLES, Sample, User
from .database import db
from .diary import Appointment


class Entry(NamedTuple):
    """An appointment of a sample account. ``day`` counts from Monday of the week in which the account is made."""

    day: int
    at: time
    lasts: timedelta
    title: str
    notes: str = ""


_HOUR = timedelta(hours=1)
#: Where each of them lives.
ZONES = {"mira": "Europe/Berlin", "tomas": "Europe/Prague", "june": "America/New_York", "vera": "UTC"}
DIARIES = {
    "mira": (
        Entry(-4, time(15), _HOUR, "Piano lesson", "Bring the blue book."),
        Entry(0, time(9, 30), _HOUR, "Dentist", "Second floor, ring twice."),
        Entry(1, time(12, 30), _HOUR, "Lunch with Tomás"),
        Entry(3, time(20), 10 * _HOUR, "Night train to Vienna", "Seat 42, by the window."),
        Entry(5, time(0), timedelta(days=2), "Vienna"),
        Entry(8, time(10), timedelta(minutes=45), "Haircut"),
        Entry(10, time(18), 2 * _HOUR, "Choir"),
    ),
    "tomas": (
        Entry(-2, time(8), 2 * _HOUR, "Market"),
        Entry(1, time(12, 30), _HOUR, "Lunch with Mira"),
        Entry(2, time(16), _HOUR, "Tea at four"),
        Entry(9, time(16), _HOUR, "Tea at four"),
    ),
    "june": (
        Entry(-3, time(12), _HOUR, "Noon, sharp"),
        Entry(2, time(12), _HOUR, "Noon, sharp"),
        Entry(4, time(22), timedelta(hours=4), "Shooting stars", "On the roof, with blankets."),
        Entry(9, time(12), _HOUR, "Noon, sharp"),
    ),
    "vera": (
        Entry(-3, time(17, 45), timedelta(minutes=15), "A look at what goes on"),
        Entry(0, time(17, 45), timedelta(minutes=15), "A look at what goes on"),
        Entry(7, time(9), _HOUR, "New shelves"),
    ),
}


def init_app(app: Flask) -> None:
    """Bring the tables up to date, and make the sample accounts that are not there."""
    with app.app_context():
        database.upgrade()
        add_samples()
        # A server may fork now, and two processes must not speak on one connection.
        db.engine.dispose()
    # Now and not when the first unknown name is given, which would take twice as long for it.
    passwords.nobody(passwords.HASHER)


def add_samples(today: date | None = None) -> None:
    """Make the sample accounts that are missing; any number of processes may do so at once.

    Appointments come with their account, in one commit: no start makes them twice, nor those anew that were deleted.
    """
    wanted = [sample.username for sample in SAMPLES]
    there = set(db.session.scalars(select(User.username).where(User.username.in_(wanted))))
    for sample in SAMPLES:
        if sample.username in there:
            continue
        try:
            _add(sample, today or datetime.now(UTC).date())
            db.session.commit()
        except IntegrityError:  # another process was faster, and the account is there
            db.session.rollback()


def _add(sample: Sample, today: date) -> None:
    zone = ZoneInfo(ZONES[sample.username])
    user = User(
        username=sample.username, name=sample.name, password_hash=sample.password_hash, time_zone=ZONES[sample.username]
    )
    db.session.add(user)
    db.session.flush()  # which gives the id
    monday = today - timedelta(days=today.weekday())
    for entry in DIARIES[sample.username]:
        shown = datetime.combine(monday + timedelta(days=entry.day), entry.at)
        # No clocks are set forward at these hours; the whole days are as long as the clocks make them.
        starts, ends = (local_time.instant(moment, zone) for moment in (shown, shown + entry.lasts))
        db.session.add(Appointment(user_id=user.id, title=entry.title, notes=entry.notes, starts=starts, ends=ends))
