"""The session cookie's attributes, and cookies with wrong or foreign values."""

from __future__ import annotations

import pickle
import random
import secrets
from typing import Any

import pytest
from flask import Flask, session

from flask_cloakroom import session_rejected
from flask_cloakroom.cookies import Cookie
from support.sites.requests_on_app import MakeApp, entries, send, ticket_of
from support.sites.watched_store import watch


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    app = make_app()
    add_views(app)
    return app


def add_views(app: Flask) -> None:
    app.add_url_rule("/fill", "fill", lambda: str(session.__setitem__("user", "alice")))
    app.add_url_rule("/read", "read", lambda: str(session.get("user")))
    app.add_url_rule("/destroy", "destroy", lambda: str(session.destroy()))  # type: ignore[attr-defined]


def attributes(response: Any) -> set[str]:
    [header] = response.headers.getlist("Set-Cookie")
    return {part for part in header.split("; ")[1:] if not part.startswith(("Max-Age", "Expires"))}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"HttpOnly", "Path=/", "SameSite=Lax"}),
        ({"SESSION_COOKIE_SECURE": True}, {"HttpOnly", "Path=/", "SameSite=Lax", "Secure"}),
        ({"SESSION_COOKIE_HTTPONLY": False}, {"Path=/", "SameSite=Lax"}),
        ({"SESSION_COOKIE_SAMESITE": "Strict"}, {"HttpOnly", "Path=/", "SameSite=Strict"}),
        ({"SESSION_COOKIE_PATH": "/shop"}, {"HttpOnly", "Path=/shop", "SameSite=Lax"}),
        ({"APPLICATION_ROOT": "/app"}, {"HttpOnly", "Path=/app", "SameSite=Lax"}),
        ({"SESSION_COOKIE_DOMAIN": "example.com"}, {"Domain=example.com", "HttpOnly", "Path=/", "SameSite=Lax"}),
        (
            {"SESSION_COOKIE_PARTITIONED": True, "SESSION_COOKIE_SAMESITE": "None", "SESSION_COOKIE_SECURE": True},
            {"HttpOnly", "Partitioned", "Path=/", "SameSite=None", "Secure"},
        ),
        ({"SESSION_COOKIE_NAME": "__Host-session"}, {"HttpOnly", "Path=/", "SameSite=Lax", "Secure"}),
    ],
)
def test_set_and_deleted_with_the_same_attributes(
    make_app: MakeApp, settings: dict[str, Any], expected: set[str]
) -> None:
    """The cookie is set and deleted with the same SESSION_COOKIE_* attributes, or browsers would keep it."""
    app = make_app(**settings)
    add_views(app)
    name = settings.get("SESSION_COOKIE_NAME", "session")
    first = send(app, "/fill")
    assert attributes(first) == expected
    cookie = {"Cookie": f"{name}={ticket_of(first)}"}
    gone = app.test_client(use_cookies=False).get("/destroy", headers=cookie)
    assert ticket_of(gone) == ""
    assert attributes(gone) == expected
    assert "Max-Age=0" in gone.headers["Set-Cookie"]


def test_secret_key_is_not_needed(app: Flask) -> None:
    """The session needs no SECRET_KEY, because the ticket is not signed."""
    assert app.secret_key is None
    assert send(app, "/read", ticket_of(send(app, "/fill"))).text == "alice"


def test_ticket_is_never_adopted(app: Flask) -> None:
    """Session fixation: a ticket that the visitor made up never becomes the ticket of a session."""
    made_up = secrets.token_urlsafe(32)
    ticket = ticket_of(send(app, "/fill", made_up))
    assert ticket not in (None, "", made_up)
    assert send(app, "/read", made_up).text == "None"


@pytest.mark.promise(8)
def test_ticket_is_nowhere_in_the_store(app: Flask) -> None:
    """GHSA-hrqr-hxpp-chr3: neither keys nor data in the store contain the ticket."""
    ticket = ticket_of(send(app, "/fill"))
    assert ticket
    for key, entry in app.session_interface.store.walk():  # type: ignore[attr-defined]
        assert ticket.encode() not in key + entry.data + entry.version


def test_another_application_on_the_same_store(make_app: MakeApp) -> None:
    """CVE-2020-17526: a ticket of another namespace opens nothing; with the same SESSION_NAMESPACE it does."""
    shop, blog = make_app("shop"), make_app("blog")
    shared_shop, shared_blog = make_app("shop", SESSION_NAMESPACE="site"), make_app("blog", SESSION_NAMESPACE="site")
    for one in (shop, blog, shared_shop, shared_blog):
        add_views(one)
    assert send(blog, "/read", ticket_of(send(shop, "/fill"))).text == "None"
    if "memory" not in str(shop.session_interface.store):  # type: ignore[attr-defined]  # a memory store is not shared
        assert send(shared_blog, "/read", ticket_of(send(shared_shop, "/fill"))).text == "alice"


def test_several_cookies_of_one_name(app: Flask) -> None:
    """A stale or planted cookie beside the real one hides nothing; a flood of them costs three commands at most."""
    ticket = ticket_of(send(app, "/fill"))
    client = app.test_client(use_cookies=False)
    planted = secrets.token_urlsafe(32)
    for header in (
        f"session=x; session={ticket}",
        f"session={planted}; session={ticket}",
        f"session={ticket}; session={planted}",
        f"a=b; session={ticket} ; c=d",
        f'other="session={planted}"; session={ticket}',
    ):
        assert client.get("/read", headers={"Cookie": header}).text == "alice", header
    store = watch(app)
    flood = "; ".join(f"session={secrets.token_urlsafe(32)}" for _ in range(100))
    assert client.get("/read", headers={"Cookie": flood}).text == "None"
    assert store.calls == ["load"] * 3


#: All that Python takes for white space, and is a tab or a space in no standard; the empty string is the control.
FALSE_BLANKS = [sign for sign in map(chr, range(256)) if sign.isspace() and sign not in "\t \r\n"]


@pytest.mark.parametrize("sign", FALSE_BLANKS)
def test_only_a_tab_or_a_space_stands_before_a_name(make_app: MakeApp, sign: str) -> None:
    """A sibling domain may set a cookie named ``\\xa0__Host-session`` over plain HTTP: it is not the session's."""
    app = make_app(SESSION_COOKIE_NAME="__Host-session")
    add_views(app)
    ticket = ticket_of(send(app, "/fill"))
    client = app.test_client(use_cookies=False)
    for header in (
        f"{sign}__Host-session={ticket}",
        f"a=b; {sign}__Host-session={ticket}",
        f"a=b;{sign} __Host-session={ticket}",
    ):
        assert client.get("/read", headers={"Cookie": header}).text == "None", header
    for header in (f"\t__Host-session={ticket}", f"a=b;__Host-session={ticket}\t ", f"a=b; \t __Host-session={ticket}"):
        assert client.get("/read", headers={"Cookie": header}).text == "alice", header


class TestOneParser:
    """``Cookie.values``: what the session's, the remember and the CSRF cookie are read with."""

    cookie = Cookie("token")

    @pytest.mark.parametrize(
        ("header", "values"),
        [
            ("", []),
            ("token=a", ["a"]),
            ("token=", [""]),
            ("token", []),
            ("token =a", []),
            ("xtoken=a; token2=b; =token=c; a=token=d", []),
            ("token=a; token=b", ["a", "b"]),
            ("\ttoken=a ;\ttoken=b c\t; x=y", ["a", "b c"]),
            ("token=a=b", ["a=b"]),
            ('token="a b"', ["a b"]),
            ('token="\\303\\244|1"', ["ä|1"]),
            ('token="a', ['"a']),
            ("token=\xa0", ["\xa0"]),
            ("\xa0token=a", []),
            ("token=a\n", ["a\n"]),
        ],
    )
    def test_values(self, header: str, values: list[str]) -> None:
        """In the browser's order, without quotes; a name counts as a whole, and no byte is an error."""
        assert self.cookie.values({"HTTP_COOKIE": header}) == values
        assert self.cookie.value({"HTTP_COOKIE": header}) == (values[0] if values else "")

    def test_no_header(self) -> None:
        """A request that brings no cookie has none."""
        assert self.cookie.values({}) == []


@pytest.mark.parametrize("name", ["", "=session", "Session", "xsession", "session2", "__Host-session"])
def test_other_names(app: Flask, name: str) -> None:
    """CVE-2023-23934: a cookie with another name or no name is not read as the session's cookie."""
    ticket = ticket_of(send(app, "/fill"))
    store = watch(app)
    response = app.test_client(use_cookies=False).get("/read", headers={"Cookie": f"{name}={ticket}"})
    assert response.text == "None"
    assert store.calls == []


def hostile_cookies(count: int, seed: int) -> Any:
    """Yield Cookie headers as nobody should send them: random bytes, long, unicode, quotes, several of one name."""
    chance = random.Random(seed)
    alphabet = "ABCabc012_-"
    for _ in range(count):
        match chance.randrange(8):
            case 0:
                value = "".join(chr(chance.randrange(1, 256)) for _ in range(chance.randrange(80)))
            case 1:
                value = "A" * chance.randrange(44, 4000)
            case 2:
                value = chance.choice(
                    ["é", "\u00ff" * 43, "日本".encode().decode("latin-1"), "%00", "..", "' OR 1=1 --"]
                )
            case 3:
                value = f'"{"".join(chance.choices(alphabet, k=43))}"'
            case 4:
                value = "".join(chance.choices(alphabet, k=chance.choice([42, 44, 86, 1])))
            case 5:
                value = pickle.dumps({"user": "root"}).decode("latin-1")
            case 6:
                value = "; session=".join("".join(chance.choices(alphabet + '"=,', k=20)) for _ in range(20))
            case _:
                value = "\t ;;= ; session"
        # What a server would refuse to pass on; everything else must be survived.
        yield "session=" + value.replace("\r", "").replace("\n", "").replace("\0", "")


def test_hostile_cookies(app: Flask) -> None:
    """100,000 cookies that cannot be tickets: no error, no entry, and no command to the store."""
    store = watch(app)
    from werkzeug.test import EnvironBuilder

    environ = EnvironBuilder(path="/read").get_environ()
    statuses = set()
    for header in hostile_cookies(100_000, seed=1):
        environ["HTTP_COOKIE"] = header
        list(app(dict(environ), lambda status, headers: statuses.add(status)))  # type: ignore[arg-type,func-returns-value]
    assert statuses == {"200 OK"}
    assert store.calls == []
    assert entries(app) == 0


def test_made_up_tickets(app: Flask) -> None:
    """CVE-2015-5143: 1,000 plausible tickets that were never issued cost a read each and leave nothing."""
    store = watch(app)
    for _ in range(1000):
        response = send(app, "/read", secrets.token_urlsafe(32))
        assert response.status_code == 200
        assert "Set-Cookie" not in response.headers
    assert store.calls == ["load"] * 1000
    assert entries(app) == 0


def test_refused_cookies_are_told(app: Flask) -> None:
    """A signal tells why a cookie was refused, with the public id and without the ticket."""
    told: list[Any] = []

    def listen(sender: Any, **arguments: Any) -> None:
        told.append(arguments)

    unknown = secrets.token_urlsafe(32)
    with session_rejected.connected_to(listen):
        send(app, "/read", "nonsense")
        send(app, "/read", unknown)
    assert [one["reason"] for one in told] == ["malformed", "unknown"]
    assert told[0]["sid"] is None
    assert len(told[1]["sid"]) == 16
    assert unknown not in str(told)


@pytest.mark.promise(11)
@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x00",
        b"garbage that is none of ours" * 10,
        pickle.dumps({"user": "root"}),
        b'{"user": "root"}',
        "truncated",
        "flipped",
    ],
)
def test_unreadable_record(app: Flask, garbage: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Garbage, a pickle or a truncated record leads to a new session and a log line with the public id."""
    ticket = ticket_of(send(app, "/fill"))
    assert ticket
    repository = app.session_interface.repository  # type: ignore[attr-defined]
    key = repository.tickets.fingerprint(ticket)
    entry = repository.store.load(key)
    if garbage == "truncated":
        garbage = entry.data[:-1]
    elif garbage == "flipped":
        garbage = entry.data[:-1] + bytes([entry.data[-1] ^ 1])
    repository.store.replace(key, garbage, 100, entry.version)
    response = send(app, "/read", ticket)
    assert (response.status_code, response.text) == (200, "None")
    assert "cannot be read" in caplog.text
    assert ticket not in caplog.text
    assert "alice" not in caplog.text
    again = ticket_of(send(app, "/fill", ticket))
    assert again not in (None, "", ticket)
    assert send(app, "/read", again).text == "alice"


@pytest.mark.promise(11)
def test_pickle_never_runs(app: Flask, tmp_path: Any) -> None:
    """CVE-2021-33026: a pickle under a session's key, or inside a value, is not executed."""
    canary = tmp_path / "canary"

    class Attack:
        def __reduce__(self) -> Any:
            return (open, (str(canary), "w"))

    ticket = ticket_of(send(app, "/fill"))
    repository = app.session_interface.repository  # type: ignore[attr-defined]
    record = repository.load(ticket)
    repository.commit(record, {"user": pickle.dumps(Attack())})
    assert send(app, "/read", ticket).status_code == 200
    entry = repository.store.load(record.key)
    repository.store.replace(record.key, pickle.dumps(Attack()), 100, entry.version)
    assert send(app, "/read", ticket).status_code == 200
    assert not canary.exists()
