"""No error report shows a ticket, a token, a key or what a session holds, whoever's code it was that failed."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flask_cloakroom.errors import StoreError
from reports.report_sites import SIGNALS, Bug, Site, Trap, travel
from reports.reporters import REPORTERS

MakeSite = Callable[[], Site]

SITES: dict[str, MakeSite] = {
    "server": Site,
    "sealed": lambda: Site(config={"SESSION_ENCRYPTION": True}),
    "cookie": lambda: Site(on_server=False),
}
ON_SERVER = ("server", "sealed")
#: The errors of one journey that are looked at: the last is where the bug was met, and those before are of that request.
LAST = 3


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


def check_each_call(make: MakeSite, trap: str, kind: type[Exception]) -> int:
    """Let each call of a kind fail in turn; return how many of them led to an error."""
    met = 0
    for number in range(1, calls_of(make, trap) + 1):
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


@pytest.mark.parametrize("place", ON_SERVER)
def test_a_bug_in_the_store(place: str, log: io.StringIO) -> None:
    """At each of its calls in turn: in whatever is under way then."""
    assert check_each_call(SITES[place], "store", Bug) > 100


def test_a_store_that_fails() -> None:
    """The same for an outage, which is a 503 that an application may report as well."""
    assert check_each_call(SITES["server"], "store", StoreError) > 30


@pytest.mark.parametrize("place", SITES)
@pytest.mark.parametrize("trap", ["loader", "view"])
def test_a_bug_in_a_loader_or_a_view(place: str, trap: str) -> None:
    """A view that fails inside ``session.lock()`` is among them."""
    assert check_each_call(SITES[place], trap, Bug) > 5


@pytest.mark.parametrize("place", ON_SERVER)
@pytest.mark.parametrize("trap", ["codec", "strategy"])
def test_a_bug_in_a_registered_type_or_a_strategy(place: str, trap: str) -> None:
    """The functions of the one are called at each read and write, those of the other when two requests meet."""
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

    password = "Password-That-Nobody-May-See"
    site.secrets.add("a password", password)
    site.app.test_client().get("/me", auth=("alice", password))
    assert isinstance(site.errors[-1], Bug)
    check(site, site.errors)


def test_a_wrong_setting() -> None:
    """An error at start is reported as well; the configuration holds all keys."""
    for name, value in (
        ("WTF_CSRF_METHODS", "POST"),
        ("REMEMBER_COOKIE_DURATION", "long"),
        ("SESSION_PERMANENT", "no"),
        ("SESSION_STORE", "redis://name:Password-That-Nobody-May-See@host:port/0"),
    ):
        site = Site(on_server=False)
        site.secrets.add("a password", "Password-That-Nobody-May-See")
        from flask_cloakroom import Cloakroom

        site.app.config[name] = value
        with pytest.raises(ValueError) as caught:
            Cloakroom(site.app)
        check(site, [caught.value])
