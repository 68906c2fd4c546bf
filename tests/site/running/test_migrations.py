"""Migrations of the database's tables."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from flask import Flask, current_app
from flask.testing import FlaskClient
from flask_migrate import check, downgrade
from sched_site import create_app, database, diary, samples
from sched_site.accounts import User
from sched_site.database import db
from sched_site.diary import Appointment

from support.sched.processes import run_site, site_environment

#: The one table that the site had before it had migrations, as it was made then.
BEFORE_MIGRATIONS = (
    "CREATE TABLE users (id {id} NOT NULL, username VARCHAR(64) NOT NULL, name VARCHAR(200) NOT NULL, "
    "password_hash VARCHAR(255) NOT NULL, active BOOLEAN NOT NULL, stamp VARCHAR(32) NOT NULL, "
    "PRIMARY KEY (id), UNIQUE (username))",
    "INSERT INTO users (username, name, password_hash, active, stamp) VALUES ('mira', 'Mira of old', 'x', {yes}, 'y')",
)
#: How long a thread that must wait is given to prove that it does not.
A_WHILE = 0.5


@contextmanager
def opened(url: str) -> Iterator[sqlalchemy.Connection]:
    """A connection that commits."""
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def settings(empty_redis: str, database_url: str) -> dict[str, str]:
    """Those of an application on an empty database."""
    return {"REDIS_URL": empty_redis, "SQLALCHEMY_DATABASE_URI": database_url}


def test_the_models_are_what_the_migrations_make(settings: dict[str, str]) -> None:
    """Alembic finds no difference between the two, and none after all migrations were undone and done again."""
    with create_app(settings).app_context():
        check()
        db.session.query(Appointment).delete()
        db.session.commit()
        downgrade(revision="base")
        assert sqlalchemy.inspect(db.engine).get_table_names() == ["alembic_version"]
        database.upgrade()
        check()
        db.engine.dispose()


def test_several_processes_at_once(empty_redis: str, database_url: str) -> None:
    """Processes that start at once on an empty database all come up, with one set of accounts and appointments."""
    code = "import sched_site; sched_site.create_app()"
    environment = site_environment(REDIS_URL=empty_redis, DATABASE_URL=database_url)
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [process.communicate(timeout=60)[1] for process in processes] == [""] * 4
    assert [process.returncode for process in processes] == [0] * 4
    with opened(database_url) as connection:
        assert sorted(connection.scalars(sqlalchemy.select(User.username))) == ["june", "mira", "tomas", "vera"]
        made = connection.scalar(sqlalchemy.select(sqlalchemy.func.count(Appointment.id)))
        assert made == sum(len(entries) for entries in samples.APPOINTMENTS.values())


def test_one_upgrade_after_the_other(settings: dict[str, str]) -> None:
    """While one process upgrades, another one waits, and goes on when the first has committed."""
    app = create_app(settings)

    def upgrade() -> None:
        with app.app_context():
            database.upgrade()

    with app.app_context(), ThreadPoolExecutor(1) as threads:
        with database.upgrade_connection():
            other = threads.submit(upgrade)
            with pytest.raises(TimeoutError):
                other.result(A_WHILE)
        assert other.result(30) is None
        db.engine.dispose()


def test_an_upgrade_that_fails_leaves_nothing(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """If the last step fails the tables are as they were before the first."""
    app = create_app(settings)
    with app.app_context():
        db.session.query(Appointment).delete()
        db.session.commit()
        downgrade(revision="base")
        monkeypatch.setattr("alembic.op.create_index", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            database.upgrade()
        assert sqlalchemy.inspect(db.engine).get_table_names() == ["alembic_version"]
        db.engine.dispose()


def test_a_database_from_before_migrations(settings: dict[str, str], database_url: str) -> None:
    """Its table is taken as it is, with those who are in it, who live in UTC until they say otherwise."""
    is_sqlite = database_url.startswith("sqlite")
    make, fill = BEFORE_MIGRATIONS
    with opened(database_url) as connection:
        connection.exec_driver_sql(make.format(id="INTEGER" if is_sqlite else "SERIAL"))
        connection.exec_driver_sql(fill.format(yes="1" if is_sqlite else "true"))
    with create_app(settings).app_context():
        check()
        mira = db.session.query(User).filter_by(username="mira").one()
        assert (mira.name, mira.stamp, mira.time_zone) == ("Mira of old", "y", "UTC")
        assert db.session.query(User).count() == len(samples.SAMPLES)
        db.session.close()
        db.engine.dispose()


def test_a_database_of_a_later_version(database_url: str, settings: dict[str, str]) -> None:
    """A database that a later version of the site has changed is left alone, and told in one sentence."""
    app = create_app(settings)
    with app.app_context():
        db.session.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = '9999'"))
        db.session.commit()
        db.session.close()
        db.engine.dispose()
    done = run_site("--port=0", DATABASE_URL=database_url, REDIS_URL=settings["REDIS_URL"])
    assert done.returncode == 1
    assert done.stderr.startswith("The site cannot start. The database belongs to another version of the site: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_table_that_is_made_anew(app: Flask) -> None:
    """SQLite changes most things of a table only by making another one of it. What refers to it stays."""
    with app.app_context():
        before = db.session.query(Appointment).count()
        db.session.close()
        with database.upgrade_connection() as connection:
            operations = Operations(MigrationContext.configure(connection))
            with operations.batch_alter_table("users", recreate="always") as users:
                users.alter_column("name", type_=sqlalchemy.String(201))
        assert db.session.query(Appointment).count() == before > 0
        assert db.session.scalar(sqlalchemy.text("PRAGMA foreign_keys")) == 1, "for all others they count"


class TestSamples:
    """The appointments of the sample accounts."""

    def test_every_account_has_some_around_this_week(self, app: Flask) -> None:
        """Each has one that is over before this week and some from its Monday on."""
        with app.app_context():
            now = datetime.now(UTC)
            monday = now.date() - timedelta(days=now.weekday())
            for user in db.session.query(User):
                days = [one.starts.astimezone(user.zone).date() for one in diary.between(user.id, *AGES)]
                assert min(days) < monday
                assert max(days) > monday + timedelta(days=6)
                assert any(monday <= day < monday + timedelta(days=7) for day in days)

    @pytest.mark.parametrize("today", [date(2026, 3, 27), date(2026, 10, 24), date(2026, 11, 1), date(2027, 1, 1)])
    def test_in_any_week(self, client: FlaskClient, today: date) -> None:
        """They can be made in any week, those in which clocks change included, and none overlaps another."""
        with client.application.app_context():
            db.session.query(Appointment).delete()
            db.session.query(User).delete()
            samples.add_samples(today)
            for user in db.session.query(User):
                theirs = diary.between(user.id, *AGES)
                assert len(theirs) == len(samples.APPOINTMENTS[user.username])
                assert all(one.ends <= other.starts for one, other in pairwise(theirs))

    def test_once(self, app: Flask, empty_redis: str) -> None:
        """Another start makes no doubles, and nothing anew that was deleted."""
        with app.app_context():
            db.session.query(Appointment).filter_by(title="Dentist").delete()
            db.session.commit()
            before = sorted(one.title for one in db.session.query(Appointment))
        with create_app({"REDIS_URL": empty_redis}).app_context():
            assert current_app is not app
            assert sorted(one.title for one in db.session.query(Appointment)) == before

    def test_whole_days(self, app: Flask) -> None:
        """Those of whole days begin and end at midnight, by the clocks of their user."""
        with app.app_context():
            vienna = db.session.query(Appointment).filter_by(title="Vienna").one()
            zone = ZoneInfo("Europe/Berlin")
            assert [moment.astimezone(zone).hour for moment in (vienna.starts, vienna.ends)] == [0, 0]


#: From long before all appointments to long after them.
AGES = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
