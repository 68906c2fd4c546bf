"""The headers for caches: ``Vary`` in one line, compared by whole names."""

from __future__ import annotations

import pytest
from flask import Response

from flask_cloakroom.caching import add_vary


@pytest.mark.parametrize(
    ("given", "added", "expected"),
    [
        ([], ["Cookie"], "Cookie"),
        ([], ["Sec-Fetch-Site", "Origin"], "Sec-Fetch-Site, Origin"),
        (["Accept-Language"], ["Cookie"], "Accept-Language, Cookie"),
        (["cookie"], ["Cookie"], "cookie"),
        (["Accept, COOKIE "], ["Cookie"], "Accept, COOKIE "),
        (["X-Cookie-Consent"], ["Cookie"], "X-Cookie-Consent, Cookie"),
        (["Cookie2"], ["Cookie"], "Cookie2, Cookie"),
        (["Set-Cookie, X-Cookie"], ["Cookie"], "Set-Cookie, X-Cookie, Cookie"),
        (["Accept", "Cookie"], ["Cookie"], "Accept, Cookie"),
        (["Accept", "Accept-Language"], ["Cookie"], "Accept, Accept-Language, Cookie"),
        (["Origin"], ["Sec-Fetch-Site", "origin"], "Origin, Sec-Fetch-Site"),
        (["", " , "], ["Cookie"], "Cookie"),
        (["*"], ["Cookie"], "*"),
        (["Accept", "*"], ["Cookie"], "*"),
        (["Accept\xa0"], ["Cookie"], "Accept\xa0, Cookie"),
        (["Cookie\xa0"], ["Cookie"], "Cookie\xa0, Cookie"),
    ],
)
def test_vary(given: list[str], added: list[str], expected: str) -> None:
    """A name counts as there only as a whole; what the view said stays; "*" stands alone; twice is once."""
    response = Response()
    for line in given:
        response.headers.add("Vary", line)
    for _ in range(2):
        add_vary(response, *added)
        assert response.headers.getlist("Vary") == [expected]
