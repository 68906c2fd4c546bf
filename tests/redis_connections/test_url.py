"""Redis URLs: the meaning of each part. No error about a URL shows a part of the password."""

from __future__ import annotations

import re
import traceback
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.connection import parse_url as drivers_parse_url

from flask_cloakroom.redis_connections import REDIS_SCHEMES, Topology, connect
from flask_cloakroom.redis_connections.url import RedisURL, parse_url

#: What the drivers' own URLs are made of.
USERS = [None, "default", "a@b", "ä:/?#[]%"]
PASSWORDS = [None, "simple", "p@ss:w/o?r#d%[] ä+", "%2541"]


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("scheme", ["redis", "rediss", "unix"])
def test_the_same_as_the_driver(scheme: str, user: str | None, password: str | None) -> None:
    """A URL that redis-py can read, percent-encoded as it should be, leads to the same place as there."""
    credentials = quote(user or "", safe="") + (":" + quote(password, safe="") if password else "")
    place = "/run/redis%20server.sock?db=3" if scheme == "unix" else "example.org:6380/3"
    url = f"{scheme}://{credentials}@{place}" if credentials else f"{scheme}://{place}"
    theirs: Any = drivers_parse_url(url)  # type: ignore[no-untyped-call]
    ours = parse_url(url)
    assert (ours.username, ours.password, ours.db) == (theirs.get("username"), theirs.get("password"), theirs["db"])
    if scheme == "unix":
        assert ours.path == theirs["path"]
    else:
        assert ours.hosts == ((theirs["host"], theirs["port"]),)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("redis://", {"hosts": (("localhost", 6379),), "db": 0, "has_db": False}),
        ("redis:///", {"hosts": (("localhost", 6379),), "has_db": False}),
        ("redis://h/0", {"db": 0, "has_db": True}),
        ("redis://h?db=4", {"db": 4, "has_db": True}),
        ("redis://h/1?db=4", {"db": 4}),
        ("redis://[::1]:1/2", {"hosts": (("::1", 1),), "db": 2}),
        ("redis://[fe80::1%25eth0]", {"hosts": (("fe80::1%eth0", 6379),)}),
        ("redis://p@ss@h", {"username": "p@ss", "password": None}),
        ("redis://:p@ss@h", {"username": None, "password": "p@ss"}),
        ("redis://:pass:word@h", {"password": "pass:word"}),
        ("redis://h?password=a%2Bb&username=u%2541", {"password": "a+b", "username": "u%41", "options": ()}),
        ("redis://u:p@h?password=x&username=y", {"password": "p", "username": "u", "options": ()}),
        ("unix:///a.sock", {"topology": Topology.SOCKET, "path": "/a.sock", "has_db": False}),
        ("valkeys+sentinel://a,b:1/s/2", {"tls": True, "hosts": (("a", 26379), ("b", 1)), "service": "s", "db": 2}),
        ("redis+sentinel://a/42", {"service": "42", "db": 0, "has_db": False}),
        ("redis+cluster://a:1,b", {"topology": Topology.CLUSTER, "hosts": (("a", 1), ("b", 6379))}),
        ("embedded://", {"topology": Topology.EMBEDDED, "db": 0, "has_db": False}),
        ("embedded:///3", {"db": 3, "has_db": True}),
    ],
)
def test_parts(url: str, parts: dict[str, Any]) -> None:
    """Each is found where it stands."""
    parsed = parse_url(url)
    assert {name: getattr(parsed, name) for name in parts} == parts


#: Where a password that nobody encoded is told from nothing else. The password is never a part of what is said.
SECRET = "Zq7xK"
UNENCODED = [
    f"redis://:{SECRET}/1{SECRET}@h/0",
    f"redis://:{SECRET}#{SECRET}@h/0",
    f"redis://:{SECRET}?{SECRET}@h/0",
    f"redis://:12?{SECRET}@h/0",
    f"redis://:12?{SECRET}=1@h/0",
    f"redis://:12?{SECRET}=1&x=@h/0",
    f"redis://:12?db={SECRET}@h/0",
    f"redis://:12?socket_timeout={SECRET}@h/0",
    f"redis://:12?protocol={SECRET}@h/0",
    f"redis://:[{SECRET}@h]",
    f"redis://[{SECRET}",
    f"redis://h:{SECRET}",
    f"redis://h/{SECRET}",
    f"redis://h?db={SECRET}",
    f"redis://h?protocol={SECRET}",
    f"redis://h?{SECRET}%20=1",
    f"redis://h:{'9' * 5000}{SECRET}",
    f"rediss://h?ssl_cert_reqs={SECRET}",
    f"unix://:{SECRET}@nowhere",
    f"unix://{SECRET}/x/y",
    f"unix:///{SECRET}?db=x",
    f"embedded://{SECRET}",
    f"redis+cluster://:{SECRET}@a/1",
    f"redis+sentinel://:{SECRET}@a",
    f"redis://a,b:{SECRET}",
    f"{SECRET}://a",
    f"redis:{SECRET}@h",
    SECRET,
]


@pytest.mark.parametrize("url", UNENCODED)
def test_nothing_is_told_of_a_wrong_url(url: str) -> None:
    """ValueError with the way out, and no part of the URL: neither in its text nor in what it came from."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (what it says is looked at below)
        connect(url)
    shown = "".join(traceback.format_exception_only(caught.value))
    assert SECRET not in shown
    assert len(str(caught.value)) > 20
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_of_many_ports_and_databases() -> None:
    """Only those that can be."""
    for port in ("0", "65536", "99999999", "-1", "٣", "1_0", " 1", "1e3"):
        with pytest.raises(ValueError, match="cannot be read"):
            parse_url(f"redis://h:{port}")
    for db in ("-1", "x", "1.0", "٣", "9" * 5000, "1/2"):
        with pytest.raises(ValueError, match="must be a number"):
            parse_url(f"redis://h/{db}")


_SIGNS = [*":/?#@[]=&%,. 0ä", "%00", "%zz", "\n"]
_WORDS = ["localhost", "6379", "db", "socket_timeout", "ssl_ca_certs", "sentinel_password", "user", SECRET]


def refusal(url: str) -> str:
    """Return what is said of a URL; nothing if it can be read."""
    try:
        parsed = parse_url(url)
    except ValueError as error:
        return str(error)
    assert isinstance(parsed, RedisURL)
    assert all(0 < port < 65536 for _, port in parsed.hosts)
    assert parsed.db >= 0
    return ""


@given(st.sampled_from([*REDIS_SCHEMES, "http", ""]), st.lists(st.sampled_from(_SIGNS + _WORDS) | st.text(max_size=3)))
def test_any_url(scheme: str, pieces: list[str]) -> None:
    """Whatever it is: a RedisURL, or a ValueError that holds nothing of what was between its signs."""
    assert SECRET not in refusal(f"{scheme}://{''.join(pieces)}")


@given(st.text(min_size=8, alphabet=st.characters(codec="utf-8")), st.sampled_from(["redis", "rediss", "unix"]))
def test_any_password_that_is_encoded(password: str, scheme: str) -> None:
    """Comes out as it went in, and stands in no text."""
    place = "/run/r.sock" if scheme == "unix" else "h:1/2"
    parsed = parse_url(f"{scheme}://u:{quote(password, safe='')}@{place}")
    assert parsed.password == password
    assert password not in repr(parsed)
    assert password not in str(parsed)


def test_the_ways_are_told() -> None:
    """Whoever writes a scheme that there is not reads which there are."""
    with pytest.raises(ValueError, match=re.escape("redis+sentinel://")):
        parse_url("sentinel://h")
