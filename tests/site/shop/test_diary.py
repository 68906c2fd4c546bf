"""The rules of appointments with parallel writes, on every database of the site."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Barrier, Event, current_thread
from typing import Any

import pytest
import sqlalchemy
from flask import Flask
from sched_site import create_app, diary
from sched_site.accounts import User
from sched_site.database import db
from sched_site.diary import Appointment, AppointmentDraft, ChangedError, OverlapError

TEN = datetime(2026, 11, 27, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
#: How long one request stands still between its look and its write: for ever, for another one that does not wait.
A_WHILE = 0.5
THREADS = 8


def plan(title: str = "Dentist", starts: datetime = TEN) -> AppointmentDraft:
    return AppointmentDraft(title, "", starts, starts + HOUR)


@pytest.fixture
def app(empty_redis: str, database_url: str) -> Iterator[Flask]:
    """The application, with no appointments."""
    app = create_app({"REDIS_URL": empty_redis, "SQLALCHEMY_DATABASE_URI": database_url})
    with app.app_context():
        db.session.query(Appointment).delete()
        db.session.commit()
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def run(app: Flask) -> Iterator[Callable[..., Future[Any]]]:
    """Run a function as a request of its own would, in a thread and a database session of its own."""

    def in_context(function: Callable[..., Any], *arguments: Any) -> Any:
        with app.app_context():
            return function(*arguments)

    with ThreadPoolExecutor(THREADS, "request") as threads:
        yield lambda *call: threads.submit(in_context, *call)


def ids(app: Flask) -> dict[str, int]:
    with app.app_context():
        return {user.username: user.id for user in db.session.query(User)}


def titles(app: Flask) -> list[str]:
    with app.app_context():
        return [one.title for one in db.session.query(Appointment).order_by(Appointment.id)]


def as_a_page(call: Callable[..., Any], user_id: int, number: int, *rest: Any) -> Any:
    """Do it as a page does, which has read the appointment before, and keeps it."""
    present = diary.get(user_id, number)
    assert present is not None
    assert present.version == 1
    return call(user_id, number, *rest)


class TestBetweenLookAndWrite:
    """One request has looked that the time is free, and has not written yet. Then another one comes."""

    @pytest.fixture
    def held(self, run: Callable[..., Future[Any]], monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
        """Run one call up to its write, then another one, which has its time to end; then let the first go on."""

        def both(first: tuple[Any, ...], second: tuple[Any, ...]) -> list[Any]:
            looked, go_on = Event(), Event()
            threads: list[object] = []
            look = diary._refuse_overlap

            def look_and_wait(*arguments: Any, **more: Any) -> None:
                look(*arguments, **more)
                if not threads:
                    threads.append(current_thread())
                    looked.set()
                    assert go_on.wait(30)

            monkeypatch.setattr(diary, "_refuse_overlap", look_and_wait)
            one = run(*first)
            assert looked.wait(30)
            other = run(*second)
            with suppress(TimeoutError):
                other.exception(A_WHILE)
            go_on.set()
            return [one.exception(30), other.exception(30), other.done() and not other.exception() and other.result()]

        return both

    def test_add(self, app: Flask, held: Callable[..., list[Any]]) -> None:
        """The other one waits, sees what the first has written, and is refused."""
        mira = ids(app)["mira"]
        first, second, _ = held((diary.add, mira, plan("First")), (diary.add, mira, plan("Second", TEN + HOUR / 2)))
        assert first is None
        assert isinstance(second, OverlapError)
        assert second.appointment.title == "First"
        assert titles(app) == ["First"]

    def test_move(self, app: Flask, run: Callable[..., Future[Any]], held: Callable[..., list[Any]]) -> None:
        """So is one that moves another appointment to that time."""
        mira = ids(app)["mira"]
        number = run(lambda: diary.add(mira, plan("Other", TEN + 5 * HOUR)).id).result(30)
        first, second, _ = held((diary.add, mira, plan("First")), (diary.change, mira, number, 1, plan("Other")))
        assert first is None
        assert isinstance(second, OverlapError)

    def test_change_twice(self, app: Flask, run: Callable[..., Future[Any]], held: Callable[..., list[Any]]) -> None:
        """Of two changes that have seen the same, the second is told of the first."""
        mira = ids(app)["mira"]
        number = run(lambda: diary.add(mira, plan()).id).result(30)
        first, second, _ = held(
            (as_a_page, diary.change, mira, number, 1, plan("First")),
            (as_a_page, diary.change, mira, number, 1, plan("Second")),
        )
        assert first is None
        assert isinstance(second, ChangedError)
        assert (second.appointment.title, second.appointment.version) == ("First", 2)
        assert titles(app) == ["First"]

    def test_delete(self, app: Flask, run: Callable[..., Future[Any]], held: Callable[..., list[Any]]) -> None:
        """What is being changed is not deleted by who has not seen the change."""
        mira = ids(app)["mira"]
        number = run(lambda: diary.add(mira, plan()).id).result(30)
        first, second, _ = held(
            (as_a_page, diary.change, mira, number, 1, plan("First")), (as_a_page, diary.remove, mira, number, 1)
        )
        assert first is None
        assert isinstance(second, ChangedError)
        assert titles(app) == ["First"]

    def test_another_user(self, app: Flask, held: Callable[..., list[Any]], database_url: str) -> None:
        """Another user has the same time for themselves; on PostgreSQL without waiting."""
        mira, tomas = ids(app)["mira"], ids(app)["tomas"]
        first, second, _ = held((diary.add, mira, plan("Mira")), (diary.add, tomas, plan("Tomas")))
        assert (first, second) == (None, None)
        assert titles(app) == (["Mira", "Tomas"] if database_url.startswith("sqlite") else ["Tomas", "Mira"])


def test_many_at_the_same_moment(app: Flask, run: Callable[..., Future[Any]]) -> None:
    """Of many that want one time at once, one gets it."""
    mira = ids(app)["mira"]
    barrier = Barrier(THREADS)

    def add(number: int) -> None:
        db.session.get(User, mira)  # as a request has done by then
        barrier.wait(30)
        diary.add(mira, plan(f"Request {number}", TEN + number * HOUR / 10))

    errors = [request.exception(60) for request in [run(add, number) for number in range(THREADS)]]
    assert [type(error) for error in errors].count(OverlapError) == THREADS - 1
    assert len(titles(app)) == 1


def test_the_database_knows_that_time_goes_on(app: Flask) -> None:
    """Whatever the pages may forget: an appointment that ends before it begins is refused below them."""
    with app.app_context(), pytest.raises(sqlalchemy.exc.IntegrityError):
        diary.add(ids(app)["mira"], AppointmentDraft("x", "", TEN, TEN))


def test_moments_come_back_as_they_were(app: Flask) -> None:
    """A moment of any zone is kept, to the microsecond, and comes back as UTC."""
    starts = datetime.fromisoformat("2026-11-27T10:00:00.123456+05:45")
    with app.app_context():
        made = diary.add(ids(app)["mira"], plan(starts=starts))
        db.session.expire_all()
        assert made.starts == starts
        assert made.starts.tzinfo is UTC


def test_appointments_go_with_their_user(app: Flask) -> None:
    """Whoever gets the id of an account that is deleted does not get its appointments."""
    mira, tomas = ids(app)["mira"], ids(app)["tomas"]
    with app.app_context():
        diary.add(mira, plan("Mira"))
        diary.add(tomas, plan("Tomas"))
        db.session.delete(db.session.get_one(User, mira))
        db.session.commit()
        db.session.add(User(id=mira, username="eve", name="Eve", password_hash="x"))
        db.session.commit()
    assert titles(app) == ["Tomas"]
