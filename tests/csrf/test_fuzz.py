"""Any headers and any body have an answer: the request passes, or is refused with a CSRFError."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from flask import Request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_cloakroom import CSRFError, generate_csrf, validate_csrf
from flask_cloakroom.csrf.origin import Origin, check_origin
from support.sites.csrf import make_app

#: Examples of each test; together they take a few seconds.
EXAMPLES = 400
FUZZED = settings(
    max_examples=EXAMPLES,
    deadline=timedelta(seconds=5),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

#: What WSGI can have in a header: latin-1, no line ends.
HEADER = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=60)
#: Pieces of which hostile origins are made.
PIECES = st.sampled_from(
    ["http", "https", ":", "/", "//", "@", "\\", "#", "?", "localhost", ".", "evil", "null", "[", "]", "::1", "80", " "]
)
HOSTS = st.builds(
    "{}{}".format,
    st.sampled_from(["localhost", "LOCALHOST", "evil.example", "localhost.evil.example", "127.0.0.1", "[::1]"]),
    st.sampled_from(["", ":80", ":443", ":8000", ":"]),
)
#: Texts that often are an origin. Random letters nearly never are, and then nothing is compared.
LIKELY = st.builds(
    "{}://{}{}".format, st.sampled_from(["http", "https", "HTTP"]), HOSTS, st.sampled_from(["", "", "/"])
)
ORIGIN = LIKELY | HEADER | st.lists(PIECES, max_size=8).map("".join)
#: An origin and a host. Half of the pairs fit each other. Two random texts nearly never do, and then nothing passes.
PAIR = st.tuples(st.none() | ORIGIN, st.none() | HOSTS | ORIGIN) | HOSTS.map(lambda host: (f"http://{host}", host))
APP = make_app()
PROTECTION: Any = APP.extensions["csrf"]


def test_headers() -> None:
    """Every request gets a verdict. None passes unless the browser or the origin says that it is from this site."""
    passed: list[str] = []

    @FUZZED
    @given(site=st.none() | HEADER, pair=PAIR, referer=st.none() | ORIGIN)
    def check(site: str | None, pair: tuple[str | None, str | None], referer: str | None) -> None:
        origin, host = pair
        sent = {"SEC_FETCH_SITE": site, "ORIGIN": origin, "REFERER": referer, "HOST": host}
        environ: dict[str, Any] = {f"HTTP_{name}": value for name, value in sent.items() if value is not None}
        environ |= {"wsgi.url_scheme": "http", "SERVER_NAME": "localhost", "SERVER_PORT": "80"}
        if check_origin(Request(environ), frozenset(), True).passes:
            own_host = host if host is not None else "localhost"
            sender = (origin or referer or "").lower()
            passed.append(sender)
            own = own_host.lower().removesuffix(":").removesuffix(":80").removesuffix(":443")
            assert site in ("same-origin", "none") or own in sender

    check()
    assert len(passed) > EXAMPLES / 100, "hardly any request passed, so hardly anything was compared"


def test_origins() -> None:
    """A text counts as an origin only if it is one, letter for letter, but for case and the scheme's usual port."""
    origins: list[Origin] = []

    @FUZZED
    @given(text=ORIGIN)
    def check(text: str) -> None:
        origin = Origin.parse(text)
        if origin is not None:
            origins.append(origin)
            scheme, host, port = origin
            rest = text.lower().removeprefix(f"{scheme}://{host}").removesuffix("/")
            assert rest in ("", ":") or (rest.startswith(":") and int(rest[1:]) == port)
            assert not set(host) & set("@/\\?# ")
        Origin.of_url(text)

    check()
    assert len(origins) > EXAMPLES / 20, "hardly any text was an origin, so hardly anything was compared"


@FUZZED
@given(token=st.text(max_size=100) | st.binary(max_size=80).map(lambda raw: raw.hex()) | st.from_regex(r"[\w-]{72}"))
def test_tokens(token: str) -> None:
    """No text is a token unless it was made for the session; and the only error is a CSRFError."""
    with APP.test_request_context():
        generate_csrf()
        with pytest.raises(CSRFError):
            validate_csrf(token)


@FUZZED
@given(place=st.integers(0, 71), letter=st.sampled_from("AQgw059zZ-_"))
def test_changed_tokens(place: int, letter: str) -> None:
    """Another letter anywhere makes it another token: there is one way to write each."""
    with APP.test_request_context():
        token = generate_csrf()
        changed = token[:place] + letter + token[place + 1 :]
        if changed != token:
            with pytest.raises(CSRFError):
                validate_csrf(changed)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("csrf_token") | st.text(max_size=5), inner),
    max_leaves=8,
)
BODIES = st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode())
TYPES = st.sampled_from(
    [
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "multipart/form-data",
        "text/plain",
        "application/problem+json; charset=utf-7",
    ]
)


@FUZZED
@given(body=BODIES, content_type=TYPES | HEADER, header=st.none() | HEADER)
def test_bodies(body: bytes, content_type: str, header: str | None) -> None:
    """A request that says nothing and has no token is refused, whatever it consists of."""
    with APP.test_request_context("/change", method="POST", data=body) as context:
        context.request.environ["CONTENT_TYPE"] = content_type
        if header is not None:
            context.request.environ["HTTP_X_CSRFTOKEN"] = header
        with pytest.raises(CSRFError):
            PROTECTION.protect()
