"""Appointments in the database, and two rules that hold even if requests run at the same time.

A user never has two appointments at the same time. A change never overwrites another change that its author has not
seen. Both rules are checked before the write, so no other request may write in between: each change first locks the
user's row until the commit. Different users do not wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import CheckConstraint, DateTime, Dialect, ForeignKey, Index, String, Text, select, update
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from .accounts import User
from .database import db

#: The most characters of a title.
MAX_TITLE_LENGTH = 120
#: The most characters of the notes, about one page. The whole form must fit into MAX_CONTENT_LENGTH.
MAX_NOTES_LENGTH = 4_000


class UtcDateTime(TypeDecorator[datetime]):
    """A moment with a time zone. The column holds UTC without a zone, because every database supports that."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert a moment to UTC without a zone."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Add the zone UTC to the stored time."""
        return None if value is None else value.replace(tzinfo=UTC)


class Appointment(db.Model):
    """An appointment of one user."""

    __tablename__ = "appointments"
    __table_args__ = (
        CheckConstraint("starts < ends", name="appointments_start_before_end"),
        Index("appointments_by_user", "user_id", "ends"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    title: Mapped[str] = mapped_column(String(MAX_TITLE_LENGTH))
    notes: Mapped[str] = mapped_column(Text, default="")
    starts: Mapped[datetime] = mapped_column(UtcDateTime)
    #: The first moment after the appointment.
    ends: Mapped[datetime] = mapped_column(UtcDateTime)
    #: Grows by one with every change.
    version: Mapped[int] = mapped_column(default=1)


class AppointmentDraft(NamedTuple):
    """The values of a new or changed appointment. Both times have a time zone, and ``starts`` is earlier."""

    title: str
    notes: str
    starts: datetime
    ends: datetime


class RefusedError(Exception):
    """The change was refused and nothing was written. ``appointment`` is the reason, as it is stored now."""

    def __init__(self, appointment: Appointment) -> None:
        super().__init__(f"appointment {appointment.id}")
        self.appointment = appointment


class OverlapError(RefusedError):
    """The user already has an appointment at that time."""


class ChangedError(RefusedError):
    """The appointment was changed in another tab or on another device after the page was loaded."""


def get(user_id: int, appointment_id: int) -> Appointment | None:
    """Return an appointment of a user; None if it does not exist or belongs to another user."""
    return db.session.scalars(select(Appointment).filter_by(id=appointment_id, user_id=user_id)).one_or_none()


def upcoming(user_id: int, now: datetime, limit: int) -> Sequence[Appointment]:
    """Return the appointments that have not ended yet, the next one first."""
    wanted = select(Appointment).where(Appointment.user_id == user_id, Appointment.ends > now)
    return db.session.scalars(wanted.order_by(Appointment.starts).limit(limit)).all()


def past(user_id: int, now: datetime, limit: int) -> Sequence[Appointment]:
    """Return the appointments that have ended, the latest one first."""
    wanted = select(Appointment).where(Appointment.user_id == user_id, Appointment.ends <= now)
    return db.session.scalars(wanted.order_by(Appointment.ends.desc()).limit(limit)).all()


def between(user_id: int, begin: datetime, end: datetime) -> Sequence[Appointment]:
    """Return the appointments that overlap the time from ``begin`` to ``end``, the earliest first."""
    wanted = select(Appointment).where(
        Appointment.user_id == user_id, Appointment.starts < end, Appointment.ends > begin
    )
    return db.session.scalars(wanted.order_by(Appointment.starts)).all()


def add(user_id: int, draft: AppointmentDraft) -> Appointment:
    """Create an appointment. Raises OverlapError."""
    _lock_user(user_id)
    _refuse_overlap(user_id, draft)
    appointment = Appointment(user_id=user_id, **draft._asdict())
    db.session.add(appointment)
    db.session.commit()
    return appointment


def change(user_id: int, appointment_id: int, version: int, draft: AppointmentDraft) -> Appointment | None:
    """Change an appointment, and return it; None if it was deleted.

    ``version`` is the version that the author has seen. Raises ChangedError if another version is stored now, and
    OverlapError.
    """
    appointment = _locked(user_id, appointment_id, version)
    if appointment is None:
        return None
    _refuse_overlap(user_id, draft, except_for=appointment_id)
    for name, value in draft._asdict().items():
        setattr(appointment, name, value)
    appointment.version += 1
    db.session.commit()
    return appointment


def remove(user_id: int, appointment_id: int, version: int) -> Appointment | None:
    """Delete an appointment, and return it; None if it was already deleted.

    ``version`` is the version that the author has seen. Raises ChangedError if another version is stored now.
    """
    appointment = _locked(user_id, appointment_id, version)
    if appointment is None:
        return None
    db.session.delete(appointment)
    db.session.commit()
    return appointment


def _lock_user(user_id: int) -> None:
    """Lock the user's row until the commit or the rollback. Another change of the same user waits until then.

    The lock is a write that changes nothing, because every database makes a second write wait: PostgreSQL for the row,
    SQLite for the file. ``SELECT … FOR UPDATE`` would do nothing in SQLite.
    """
    db.session.execute(update(User).where(User.id == user_id).values(id=User.id))


def _locked(user_id: int, appointment_id: int, version: int) -> Appointment | None:
    _lock_user(user_id)
    wanted = select(Appointment).filter_by(id=appointment_id, user_id=user_id)
    # Read from the database again. The view loaded the appointment before the lock, when others could still change it.
    appointment = db.session.scalars(wanted.execution_options(populate_existing=True)).one_or_none()
    if appointment is None:
        db.session.rollback()
    elif appointment.version != version:
        _refuse(ChangedError(appointment))
    return appointment


def _refuse_overlap(user_id: int, draft: AppointmentDraft, except_for: int | None = None) -> None:
    """Raise OverlapError if the user has another appointment at that time. ``except_for`` is the changed one."""
    others = [other for other in between(user_id, draft.starts, draft.ends) if other.id != except_for]
    if others:
        _refuse(OverlapError(others[0]))


def _refuse(error: RefusedError) -> None:
    db.session.expunge(error.appointment)  # so that it can be read after the rollback
    db.session.rollback()
    raise error
