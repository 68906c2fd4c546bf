"""What visitors of a site with ``SeaSurf`` send and get."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_cloakroom import (
    UserMixin,
)

UNSAFE = ["POST", "PUT", "PATCH", "DELETE"]


OWN = {"Sec-Fetch-Site": "same-origin"}


SECURE = "https://www.example.com"


Make = Callable[..., Flask]


class User(UserMixin):
    def __init__(self, id: str) -> None:
        self.id = id


def send(client: FlaskClient, token: str | None = None, path: str = "/change", **options: Any) -> TestResponse:
    """Post a form with a token, if there is one."""
    return client.post(path, data=None if token is None else {"_csrf_token": token}, **options)


def cookie_of(response: TestResponse, name: str = "_csrf_token") -> str | None:
    """Return the Set-Cookie header of a name."""
    found = [text for text in response.headers.getlist("Set-Cookie") if text.startswith(f"{name}=")]
    assert len(found) < 2
    return found[0] if found else None


def value_of(client: FlaskClient, name: str = "_csrf_token") -> str:
    """Return what a script reads in the browser's cookie."""
    cookie = client.get_cookie(name)
    assert cookie is not None
    return cookie.value
