"""No error report shows a ticket, token, key or session value, wherever the error was raised."""

from __future__ import annotations

import copy
import io
import logging
import os
import pickle
import pprint
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, session
from sentry_sdk.utils import event_from_exception

from flask_cloakroom import Cloakroom, FlaskRedis, SettingError
from flask_cloakroom.errors import StoreError
from flask_cloakroom.redis_connections import connect
from flask_cloakroom.secret import Secret, SecretBytes
from flask_cloakroom.stores import Claim, Conflict, Entry
from flask_cloakroom.stores.redis.store import RedisStore
from support.reports.reporters import REPORTERS
from support.reports.sites import SIGNALS, Browser, Bug, Site, Trap, travel

MakeSite = Callable[[], Site]

SITES: dict[str, MakeSite] = {
    "server": Site,
    "sealed": lambda: Site(config={"SESSION_ENCRYPTION": True}),
    "cookie": lambda: Site(on_server=False),
}
ON_SERVER = ("server", "sealed")
#: So many errors of a journey are looked at: the last is where the bug was met, and those before are of its request.
LAST = 3
PASSWORD = "Password-That-Nobody-May-See"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Yield all that is logged, at every level."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(1)
    yield text
    root.setLevel(level)
    root.removeHandler(handler)


def check(site: Site, errors: list[BaseException]) -> None:
    """Look at what each reporter shows of the errors."""
    for error in errors:
        for name, reporter in REPORTERS.items():
            site.secrets.check(reporter(error), f"{name} of {type(error).__name__}")


def calls_of(make: MakeSite, trap: str) -> int:
    """Return how many calls of a kind a journey without a bug makes."""
    site = make()
    travel(site)
    return getattr(site, trap).calls  # type: ignore[no-any-return]


def check_each_call(make: MakeSite, trap: str, kind: type[Exception], part: int = 0, of: int = 1) -> int:
    """Let each call of a kind fail in turn, or one part ``of`` so many; return how many of them led to an error."""
    met = 0
    for number in range(1 + part, calls_of(make, trap) + 1, of):
        site = make()
        setattr_trap(site, trap, number, kind)
        travel(site)
        met += any(is_of(error, kind) for error in site.errors)
        check(site, site.errors[-LAST:])
    return met


def setattr_trap(site: Site, name: str, number: int, kind: type[Exception]) -> None:
    trap: Trap = getattr(site, name)
    trap.left, trap.kind = number, kind


def is_of(error: BaseException, kind: type[Exception]) -> bool:
    return isinstance(error, kind) or isinstance(error.__cause__, kind)


@pytest.mark.parametrize("place", SITES)
def test_a_journey(place: str, log: io.StringIO) -> None:
    """What goes wrong without anybody's bug: a void token, a session that is too large, a key that is not there."""
    site = SITES[place]()
    travel(site)
    names = {type(error).__name__ for error in site.errors}
    assert "CSRFError" in names
    assert "KeyError" in names
    if site.on_server:
        assert names >= {"SessionTooLargeError", "SessionValueError"}
    check(site, site.errors)
    site.secrets.check(log.getvalue().splitlines(), "the log")


@pytest.mark.parametrize("part", range(4))
def test_a_bug_in_the_store(part: int) -> None:
    """At each of its calls in turn: in whatever is under way then."""
    assert check_each_call(SITES["server"], "store", Bug, part, 4) > 40


def test_a_bug_in_a_store_of_sealed_sessions() -> None:
    """At some of its calls, in whose middle keys that seal are about."""
    assert check_each_call(SITES["sealed"], "store", Bug, of=5) > 30


def test_a_store_that_fails() -> None:
    """The same for an outage, which is a 503 that an application may report as well."""
    assert check_each_call(SITES["server"], "store", StoreError, of=5) > 15


@pytest.mark.parametrize("place", SITES)
@pytest.mark.parametrize("trap", ["loader", "view"])
def test_a_bug_in_a_loader_or_a_view(place: str, trap: str) -> None:
    """A view that fails inside ``session.lock()`` is among them."""
    assert check_each_call(SITES[place], trap, Bug) > 5


@pytest.mark.parametrize("place", ON_SERVER)
@pytest.mark.parametrize("trap", ["codec", "strategy"])
def test_a_bug_in_a_registered_type_or_a_strategy(place: str, trap: str) -> None:
    """The functions of the one are called at each read and write, the other when two requests meet."""
    assert calls_of(SITES[place], trap) > 1
    check_each_call(SITES[place], trap, Bug)


@pytest.mark.parametrize("place", SITES)
def test_a_bug_in_a_receiver(place: str) -> None:
    """Of each signal that the package sends."""
    met = 0
    for signal in SIGNALS:
        site = SITES[place]()
        with site.receiver_that_fails(signal):
            travel(site)
        met += any(isinstance(error, Bug) for error in site.errors)
        check(site, site.errors[-LAST:])
    assert met > (15 if place in ON_SERVER else 5)


def test_the_authorization_header() -> None:
    """A password in the header is in no report of the authenticator that failed at it."""
    site = Site()

    @site.login.authenticator(scheme="basic")
    def find(request: Any) -> Any:
        raise Bug("a mistake in somebody else's code")

    site.secrets.add("a password", PASSWORD)
    site.app.test_client().get("/me", auth=("alice", PASSWORD))
    assert isinstance(site.errors[-1], Bug)
    check(site, site.errors)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WTF_CSRF_METHODS", "POST"),
        ("CSRF_COOKIE", "a b"),
        ("REMEMBER_COOKIE_DURATION", "long"),
        ("SESSION_PERMANENT", "no"),
        ("SESSION_MERGE", {"key": "unknown"}),
        ("SESSION_STORE", f"redis://name:{PASSWORD}@host:port/0"),
        ("REDIS_URL", f"redis://name:{PASSWORD}@host:port/0"),
    ],
)
def test_a_wrong_setting(name: str, value: Any) -> None:
    """An error at start is reported as well; the configuration holds all keys."""
    site = Site(on_server=False)
    site.secrets.add("a password", PASSWORD)
    app = Flask("another")
    app.config.update(site.app.config)
    app.config[name] = value
    with pytest.raises(SettingError) as caught:
        Cloakroom(app)
    check(site, [caught.value])


def test_a_key_that_signs_nothing() -> None:
    """The key is refused when a login is to be remembered; that is no reason to show it."""
    site = Site(on_server=False)
    site.app.secret_key = "change_me_to_a_complex_random_secret"
    site.secrets.add("a key", site.app.secret_key)
    browser = Browser(site)
    browser.get("/login/alice", csrf_token=browser.get("/token"), remember="1")
    assert isinstance(site.errors[-1], SettingError)
    check(site, site.errors)


@pytest.mark.parametrize("url", [f"redis://name:{PASSWORD}@host:port/0", f"redis://host/0?password={PASSWORD}&db=x"])
def test_a_wrong_redis_url(url: str) -> None:
    """Whoever is given the URL: a store, a client, or a function of an application."""
    site = Site(on_server=False)
    site.secrets.add("a password", PASSWORD)
    app = Flask("another")
    app.config["REDIS_URL"] = url
    for make in (lambda: RedisStore(url), lambda: connect(url), lambda: FlaskRedis(app)):
        with pytest.raises((ValueError, SettingError)) as caught:
            make()
        # In this file's own frames the URL stands as it was written.
        check(site, [caught.value])


def test_the_types_themselves() -> None:
    """They show nothing, and are else what they hide: equal, hashed, pickled and sorted as that."""
    for kind, plain in ((Secret, "ticket"), (SecretBytes, b"ticket")):
        one = kind(plain)
        assert one == plain
        assert hash(one) == hash(plain)
        assert {one: 1}[plain] == 1
        assert copy.copy(one) == plain
        assert type(pickle.loads(pickle.dumps(one))) is kind
        for shown in (repr(one), repr([one]), repr({"x": (one,)}), f"{one!r}", f"{one!r}", pprint.pformat([one])):
            assert "ticket" not in shown
    assert type(str(Secret("ticket"))) is str
    assert type(bytes(SecretBytes(b"ticket"))) is bytes


def test_what_a_store_returns() -> None:
    """A store of somebody else's makes entries and claims as it always did; what it puts into them is hidden."""
    entry, claim = Entry(b"data of a session", b"version"), Claim(b"key of a session", 5.0)
    assert entry == (b"data of a session", b"version")
    assert claim.key == b"key of a session"
    assert "of a session" not in repr([entry, Conflict(entry), claim])
    assert pickle.loads(pickle.dumps(entry)) == entry
    assert entry._replace(version=b"other").data == b"data of a session"


def test_a_reporter_opens_no_session() -> None:
    """To look at a session is not to use it: a report causes no store command and reads no value."""
    site = Site()
    with site.app.test_request_context(headers={"Cookie": "session=" + "A" * 43}):
        found: Any = session._get_current_object()  # type: ignore[attr-defined]
        try:
            local = found
            raise Bug(type(local).__name__)
        except Bug as error:
            for reporter in REPORTERS.values():
                list(reporter(error))
            event = event_from_exception(error)[0]
        assert "not opened" in str(event)
        assert site.store.calls == 0


@pytest.mark.parametrize("advised", [False, True])
def test_sentry_as_it_is_installed(advised: bool, tmp_path: Path) -> None:
    """With all of its defaults: logging, Flask, breadcrumbs, the request. With the scrubber that docs/security.md
    advises, nothing is shown in the frames of Flask either."""
    result = subprocess.run(
        [sys.executable, "-m", "support.reports.sentry_process", "advised" if advised else "defaults"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["held", "True"]
