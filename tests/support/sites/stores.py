"""The end of applications that a test made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask


@contextmanager
def stores_closed_after() -> Iterator[list[Flask]]:
    """Give a list for applications with sessions on the server; close the stores of all in it at the end."""
    apps: list[Flask] = []
    try:
        yield apps
    finally:
        for app in apps:
            app.session_interface.store.close()  # type: ignore[attr-defined]
