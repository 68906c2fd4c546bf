"""The appointments: what one is, and the rules that hold however many requests come at once.

Nobody has two appointments at one time, and no change undoes another that its author has not seen. Both are looked up
before something is written, so nobody else may write between the two: each change first takes the user's row, and keeps
it until the commit. Users do not wait for each other.
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

#: Characters of a title at most.
LONGEST_TITLE = 120
#: Characters of notes at most: a page or so. The form as a whole has to fit into MAX_CONTENT_LENGTH.
LONGEST_NOTES = 4_000


class UtcDateTime(TypeDecorator[datetime]):
    """A moment. Databases keep it as a UTC time without a zone, which all of them have."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Write it."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Read it."""
        return None if value is None else value.replace(tzinfo=UTC)


class Appointment(db.Model):
    """Some time that one user has given away."""

    __tablename__ = "appointments"
    __table_args__ = (
        CheckConstraint("starts < ends", name="appointments_start_before_end"),
        Index("appointments_by_user", "user_id", "ends"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    title: Mapped[str] = mapped_column(String(LONGEST_TITLE))
    notes: Mapped[str] = mapped_column(Text, default="")
    starts: Mapped[datetime] = mapped_column(UtcDateTime)
    #: The first moment that is free again.
    ends: Mapped[datetime] = mapped_column(UtcDateTime)
    #: Grows by one with each change.
    version: Mapped[int] = mapped_column(default=1)


class Plan(NamedTuple):
    """What somebody wants an appointment to be. Both moments are aware, and the first is before the second."""

    title: str
    notes: str
    starts: datetime
    ends: datetime


class RefusedError(Exception):
    """Nothing was written. ``appointment`` is what stands against it, as it is now."""

    def __init__(self, appointment: Appointment) -> None:
        super().__init__(f"appointment {appointment.id}")
        self.appointment = appointment


class OverlapError(RefusedError):
    """There is an appointment at that time already."""


class ChangedError(RefusedError):
    """It is not any more what its author has seen: it was changed meanwhile, in another tab or on another device."""


def of(user_id: int, number: int) -> Appointment | None:
    """Return an appointment of a user. None if there is none, or if it is somebody else's."""
    return db.session.scalars(select(Appointment).filter_by(id=number, user_id=user_id)).one_or_none()


def upcoming(user_id: int, now: datetime, limit: int) -> Sequence[Appointment]:
    """Return what is not over yet, the next one first."""
    wanted = select(Appointment).where(Appointment.user_id == user_id, Appointment.ends > now)
    return db.session.scalars(wanted.order_by(Appointment.starts).limit(limit)).all()


def past(user_id: int, now: datetime, limit: int) -> Sequence[Appointment]:
    """Return what is over, the latest one first."""
    wanted = select(Appointment).where(Appointment.user_id == user_id, Appointment.ends <= now)
    return db.session.scalars(wanted.order_by(Appointment.ends.desc()).limit(limit)).all()


def between(user_id: int, begin: datetime, end: datetime) -> Sequence[Appointment]:
    """Return what takes some of the time from ``begin`` up to ``end``, the earliest first."""
    wanted = select(Appointment).where(
        Appointment.user_id == user_id, Appointment.starts < end, Appointment.ends > begin
    )
    return db.session.scalars(wanted.order_by(Appointment.starts)).all()


def add(user_id: int, plan: Plan) -> Appointment:
    """Make an appointment. Raises OverlapError."""
    _hold(user_id)
    _refuse_overlap(user_id, plan)
    appointment = Appointment(user_id=user_id, **plan._asdict())
    db.session.add(appointment)
    db.session.commit()
    return appointment


def change(user_id: int, number: int, version: int, plan: Plan) -> Appointment | None:
    """Change an appointment that is still the version that its author has seen.

    Returns None if it is not there any more. Raises ChangedError if it is another version, and OverlapError.
    """
    appointment = _held(user_id, number, version)
    if appointment is None:
        return None
    _refuse_overlap(user_id, plan, but=number)
    for name, value in plan._asdict().items():
        setattr(appointment, name, value)
    appointment.version += 1
    db.session.commit()
    return appointment


def remove(user_id: int, number: int, version: int) -> Appointment | None:
    """Delete an appointment that is still that version, and return what it was; None if it is not there any more.

    Raises ChangedError if it is another version.
    """
    appointment = _held(user_id, number, version)
    if appointment is None:
        return None
    db.session.delete(appointment)
    db.session.commit()
    return appointment


def _hold(user_id: int) -> None:
    """Let other changes of this user wait until the commit or the rollback; what is read from now on is what they left.

    A write that changes nothing, because every database makes the second one wait for it: PostgreSQL at the row, SQLite
    at the file, where ``SELECT … FOR UPDATE`` does nothing.
    """
    db.session.execute(update(User).where(User.id == user_id).values(id=User.id))


def _held(user_id: int, number: int, version: int) -> Appointment | None:
    _hold(user_id)
    wanted = select(Appointment).filter_by(id=number, user_id=user_id)
    # Read anew: the view has looked at it before, when others could still change it.
    appointment = db.session.scalars(wanted.execution_options(populate_existing=True)).one_or_none()
    if appointment is None:
        db.session.rollback()
    elif appointment.version != version:
        _refuse(ChangedError(appointment))
    return appointment


def _refuse_overlap(user_id: int, plan: Plan, but: int | None = None) -> None:
    """``but`` is an appointment that may be in the way: the one that is changed."""
    others = [other for other in between(user_id, plan.starts, plan.ends) if other.id != but]
    if others:
        _refuse(OverlapError(others[0]))


def _refuse(error: RefusedError) -> None:
    db.session.expunge(error.appointment)  # it can be read after the rollback, as it is now
    db.session.rollback()
    raise error
