"""The sample accounts and their appointments, which the site creates at its first start."""

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


class SampleAppointment(NamedTuple):
    """An appointment of a sample account. ``day`` counts from Monday of the week of the first start."""

    day: int
    at: time
    lasts: timedelta
    title: str
    notes: str = ""


_HOUR = timedelta(hours=1)
#: The time zone of each sample account.
TIME_ZONES = {"mira": "Europe/Berlin", "tomas": "Europe/Prague", "june": "America/New_York", "vera": "UTC"}
APPOINTMENTS = {
    "mira": (
        SampleAppointment(-4, time(15), _HOUR, "Piano lesson", "Bring the blue book."),
        SampleAppointment(0, time(9, 30), _HOUR, "Dentist", "Second floor, ring twice."),
        SampleAppointment(1, time(12, 30), _HOUR, "Lunch with Tomás"),
        SampleAppointment(3, time(20), 10 * _HOUR, "Night train to Vienna", "Seat 42, by the window."),
        SampleAppointment(5, time(0), timedelta(days=2), "Vienna"),
        SampleAppointment(8, time(10), timedelta(minutes=45), "Haircut"),
        SampleAppointment(10, time(18), 2 * _HOUR, "Choir"),
    ),
    "tomas": (
        SampleAppointment(-2, time(8), 2 * _HOUR, "Market"),
        SampleAppointment(1, time(12, 30), _HOUR, "Lunch with Mira"),
        SampleAppointment(2, time(16), _HOUR, "Tea at four"),
        SampleAppointment(9, time(16), _HOUR, "Tea at four"),
    ),
    "june": (
        SampleAppointment(-3, time(12), _HOUR, "Noon, sharp"),
        SampleAppointment(2, time(12), _HOUR, "Noon, sharp"),
        SampleAppointment(4, time(22), timedelta(hours=4), "Shooting stars", "On the roof, with blankets."),
        SampleAppointment(9, time(12), _HOUR, "Noon, sharp"),
    ),
    "vera": (
        SampleAppointment(-3, time(17, 45), timedelta(minutes=15), "Check the activity page"),
        SampleAppointment(0, time(17, 45), timedelta(minutes=15), "Check the activity page"),
        SampleAppointment(7, time(9), _HOUR, "New shelves"),
    ),
}


def init_app(app: Flask) -> None:
    """Upgrade the tables, and create the sample accounts that are missing."""
    with app.app_context():
        database.upgrade()
        add_samples()
        # A server may fork after this, and two processes must not share a connection.
        db.engine.dispose()
    # Computed now. Otherwise the first login with an unknown name would take twice as long, and so give itself away.
    passwords.dummy_hash(passwords.HASHER)


def add_samples(today: date | None = None) -> None:
    """Create the sample accounts that are missing. Several processes may call this at the same time.

    An account and its appointments are created in one commit. So no start creates appointments twice, or creates
    deleted ones again.
    """
    wanted = [sample.username for sample in SAMPLES]
    existing = set(db.session.scalars(select(User.username).where(User.username.in_(wanted))))
    for sample in SAMPLES:
        if sample.username in existing:
            continue
        try:
            _add(sample, today or datetime.now(UTC).date())
            db.session.commit()
        except IntegrityError:  # another process has created the account in the meantime
            db.session.rollback()


def _add(sample: Sample, today: date) -> None:
    zone = ZoneInfo(TIME_ZONES[sample.username])
    user = User(
        username=sample.username,
        name=sample.name,
        password_hash=sample.password_hash,
        time_zone=TIME_ZONES[sample.username],
    )
    db.session.add(user)
    db.session.flush()  # so that the user gets an id
    monday = today - timedelta(days=today.weekday())
    for item in APPOINTMENTS[sample.username]:
        shown = datetime.combine(monday + timedelta(days=item.day), item.at)
        # No zone skips these hours. A whole day is 23 or 25 hours long when clocks change.
        starts, ends = (local_time.to_utc(moment, zone) for moment in (shown, shown + item.lasts))
        db.session.add(Appointment(user_id=user.id, title=item.title, notes=item.notes, starts=starts, ends=ends))
