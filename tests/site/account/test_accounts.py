"""Accounts and passwords: comparison, upgrade of old hashes, and how the first accounts are made."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
import sqlalchemy
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import VerificationError
from flask import Flask
from flask.testing import FlaskClient
from sched_site import create_app, database, passwords, samples
from sched_site.accounts import User
from sched_site.database import db
from sched_site.diary import Appointment

from support.sched.processes import run_site

RIGHT = "half-past-nine"


@pytest.fixture
def app(empty_redis: str) -> Iterator[Flask]:
    """The application, inside its context."""
    app = create_app({"REDIS_URL": empty_redis, "TESTING": True})
    with app.app_context():
        yield app


def authenticate(username: str, password: str) -> tuple[User | None, bool]:
    return User.authenticate(db.session.query, username, password)


def user(username: str = "mira") -> User:
    return db.session.query(User).filter_by(username=username).one()


@contextmanager
def another_process() -> Iterator[sqlalchemy.Connection]:
    """A stand-in for another process: a connection of its own, which commits."""
    engine = sqlalchemy.create_engine(db.engine.url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


@contextmanager
def listening(target: object, event: str, listener: Callable[..., None]) -> Iterator[None]:
    """Do something at the very moment that SQLAlchemy tells of."""
    sqlalchemy.event.listen(target, event, listener)
    yield
    sqlalchemy.event.remove(target, event, listener)


class TestAuthenticate:
    """``User.authenticate``."""

    def test_right(self, app: Flask) -> None:
        """The user is returned, and that they may log in."""
        found, authenticated = authenticate("mira", RIGHT)
        assert found is user()
        assert authenticated is True

    def test_wrong(self, app: Flask) -> None:
        """A wrong password, a name that there is not, and an account switched off may not."""
        user("june").active = False
        db.session.commit()
        assert authenticate("mira", "wrong") == (user(), False)
        assert authenticate("nobody", RIGHT) == (None, False)
        assert authenticate("mira\0", RIGHT) == (None, False)
        assert authenticate("june", "noon-sharp") == (user("june"), False)

    @pytest.mark.parametrize(
        ("username", "password"),
        [
            *(("nobody", "wrong"), ("mira", "wrong"), ("tomas", "wrong"), ("june", "noon-sharp")),
            *(("mira", RIGHT), ("tomas", "tea-at-four")),
        ],
    )
    def test_the_work_is_the_same(self, app: Flask, username: str, password: str) -> None:
        """Whatever comes, one hash of each kind is compared, with the parameters in use: of no account (nobody), of
        one with a new hash (tomas), with an old one (mira), and of one that is switched off (june)."""
        authenticate("tomas", "tea-at-four")
        user("june").active = False
        db.session.commit()
        old = passwords.check_password_hash
        with (
            mock.patch.object(PasswordHasher, "verify", autospec=True, side_effect=PasswordHasher.verify) as new_kind,
            mock.patch.object(passwords, "check_password_hash", side_effect=old) as old_kind,
        ):
            authenticate(username, password)
        ((_, compared, given),) = (call.args for call in new_kind.call_args_list)
        assert given == password
        parameters = extract_parameters(compared)
        assert (parameters.time_cost, parameters.memory_cost) == (1, 8)
        ((compared, given),) = (call.args for call in old_kind.call_args_list)
        assert given == password
        assert compared.startswith("scrypt:32768:8:1$")

    def test_the_time_is_the_same(self, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the parameters that the site has, a wrong password takes as long as a name that there is not."""
        monkeypatch.setattr(passwords, "HASHER", PasswordHasher())
        authenticate("tomas", "tea-at-four")  # has a new hash from now on
        passwords.dummy_hash(passwords.HASHER)
        taken: dict[str, list[float]] = {"nobody": [], "mira": [], "tomas": []}
        for _ in range(7):
            for username, times in taken.items():
                begin = time.perf_counter()
                authenticate(username, "wrong")
                times.append(time.perf_counter() - begin)
        # The shortest of each: other programs can only lengthen one.
        shortest = [min(times) for times in taken.values()]
        assert max(shortest) < 2 * min(shortest)

    def test_a_damaged_hash_lets_nobody_in(self, app: Flask) -> None:
        """A hash that is none is an error, and no login."""
        user().password_hash = "$argon2id$nonsense"
        db.session.commit()
        with pytest.raises(VerificationError):
            authenticate("mira", RIGHT)


class TestUpgrade:
    """What a login does to a hash that is not of today's kind."""

    def test_to_argon2(self, app: Flask) -> None:
        """A hash of the old kind becomes argon2's, which fits the same password; a wrong one changes nothing."""
        authenticate("mira", "wrong")
        assert user().password_hash.startswith("scrypt:")
        authenticate("mira", RIGHT)
        db.session.rollback()  # it is committed
        assert user().password_hash.startswith("$argon2id$")
        assert authenticate("mira", RIGHT)[1]
        assert not authenticate("mira", "wrong")[1]

    def test_to_other_parameters(self, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
        """A hash of other parameters than those in use becomes one of these, and one that is of them stays."""
        authenticate("mira", RIGHT)
        monkeypatch.setattr(passwords, "HASHER", PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
        authenticate("mira", RIGHT)
        upgraded = user().password_hash
        assert "$m=16,t=2,p=1$" in upgraded
        authenticate("mira", RIGHT)
        assert user().password_hash == upgraded

    def test_ends_no_login(self, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
        """Other devices, and what remembers them, stay as they are."""
        form = {"username": "mira", "password": RIGHT, "remember": "y"}
        first, second = app.test_client(), app.test_client()
        first.post("/login", data=form)
        monkeypatch.setattr(passwords, "HASHER", PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
        before = user().password_hash
        second.post("/login", data=form)
        db.session.rollback()
        assert user().password_hash != before
        assert first.get("/account").status_code == 200
        first.delete_cookie("sched_session")
        assert first.get("/account").status_code == 200

    def test_undoes_no_change_of_the_password(self, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
        """If the password is changed while an old hash is being replaced, the change stays."""
        changed = passwords.hash_password("a new one")

        def change_and_hash(password: str, hashed: Callable[[str], str] = passwords.hash_password) -> str:
            with another_process() as connection:
                connection.execute(sqlalchemy.update(User).values(password_hash=changed))
            return hashed(password)

        monkeypatch.setattr(passwords, "hash_password", change_and_hash)
        authenticate("mira", RIGHT)
        db.session.rollback()
        assert user().password_hash == changed


class TestStart:
    """How the accounts come to be there. How the tables do, is in ``running/test_migrations.py``."""

    def test_another_process_makes_an_account_first(self, app: Flask) -> None:
        """Between the look for the accounts and their making another process may make one; the rest is made."""
        db.session.query(Appointment).delete()
        db.session.query(User).delete()
        db.session.commit()

        def make_it_first(mapper: object, connection: object, target: User) -> None:
            if target.username != "mira":
                return
            values = {"username": "mira", "name": "First", "password_hash": "x", "active": True, "stamp": "x"}
            with another_process() as other:
                other.execute(sqlalchemy.insert(User).values(values))

        with listening(User, "before_insert", make_it_first):
            samples.add_samples()
        assert {one.username: one.name for one in db.session.query(User)} == {
            "mira": "First",
            "tomas": "Tomás",
            "june": "June",
            "vera": "Vera",
        }

    def test_what_was_changed_stays(self, app: Flask, empty_redis: str) -> None:
        """Another start makes what is missing, and leaves what is there."""
        user().set_password("a new one")
        db.session.query(Appointment).filter_by(user_id=user("june").id).delete()
        db.session.delete(user("june"))
        db.session.commit()
        with create_app({"REDIS_URL": empty_redis}).app_context():
            assert authenticate("mira", "a new one")[1]
            assert authenticate("june", "noon-sharp")[1]

    def test_file_is_private(self, app: Flask) -> None:
        """Nobody else on the machine can read the hashes, and nothing else is written."""
        (path,) = Path(app.instance_path).iterdir()
        assert path.name == database.DEFAULT_FILE
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_settings(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """DATABASE_URL counts, and then the site writes no file of its own. No key is needed."""
        monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/elsewhere.db")
        app = create_app()
        assert app.secret_key is None
        assert database.label(app) == "SQLite (elsewhere.db)"
        assert (tmp_path / "elsewhere.db").exists()
        assert not Path(app.instance_path).exists()

    def test_label_has_no_password(self) -> None:
        """A database is named without its password."""
        app = Flask(__name__)
        app.config["SQLALCHEMY_DATABASE_URI"] = "postgresql://me:secret@db.example/sched"
        assert database.label(app) == "postgresql://me:***@db.example/sched"

    @pytest.mark.parametrize("url", ["sqlite:////nowhere/at/all.db", "carrier-pigeon:", "carrier-pigeon://coop"])
    def test_database_that_cannot_be(self, url: str, tmp_path: Path) -> None:
        """A database that cannot be had is told in one sentence, and not by a traceback."""
        done = run_site("--port=0", DATABASE_URL=url)
        assert done.returncode == 1
        assert done.stderr.startswith("The site cannot start. DATABASE_URL: ")
        assert len(done.stderr.splitlines()) == 1


def test_database_is_away(app: Flask, client: FlaskClient) -> None:
    """While the database cannot be reached nobody is logged in or out: pages of users answer 503, others go on."""
    client.post("/login", data={"username": "mira", "password": RIGHT})
    stranger = app.test_client()
    path = Path(str(db.engine.url.database))
    db.session.close()
    db.engine.dispose()
    path.rename(path.with_suffix(".away"))
    path.mkdir()
    for answer in (
        client.get("/"),
        client.get("/account"),
        stranger.post("/login", data={"username": "mira", "password": RIGHT}),
    ):
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert "Accounts are temporarily unavailable" in answer.text
    assert stranger.get("/").status_code == 200
    path.rmdir()
    path.with_suffix(".away").rename(path)
    assert client.get("/account").status_code == 200
