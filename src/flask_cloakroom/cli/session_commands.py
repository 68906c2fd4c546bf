"""``flask sessions``: what an operator does with the store."""

from __future__ import annotations

import time

import click
from flask import current_app
from flask.cli import AppGroup

from ..errors import CloakroomError
from ..sessions import envelope
from ..sessions.interface import interface_of
from ..sessions.repository import PURGE_BATCH, Repository
from ..stores import Purges, Walks

sessions = AppGroup("sessions", help="Look after the server-side sessions.")


def _repository() -> Repository:
    try:
        return interface_of(current_app).repository
    except CloakroomError as error:
        raise click.ClickException(str(error)) from error


@sessions.command()
def purge() -> None:
    """Delete what has expired, in short steps that let requests through."""
    store = _repository().store
    if not isinstance(store, Purges):
        click.echo(f"{store}: expires by itself, nothing to purge.")
        return
    try:
        total = purge_all(store)
    except CloakroomError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{store}: {total} expired entries deleted.")


def purge_all(store: Purges) -> int:
    """Purge until nothing expired is left, and return how many there were.

    After each batch it rests for as long as that took, so that writers get half of the time.
    """
    total = 0
    while True:
        began = time.monotonic()
        deleted = store.purge(PURGE_BATCH)
        if not deleted:
            return total
        total += deleted
        time.sleep(time.monotonic() - began)


@sessions.command()
def count() -> None:
    """Say how many live sessions there are, by reading them all."""
    store = _repository().store
    if not isinstance(store, Walks):
        raise click.ClickException(f"{store} cannot list what it holds.")
    live = unreadable = 0
    try:
        for _, entry in store.walk():
            try:
                live += not envelope.open_header(entry.data)[0].superseded
            except envelope.EnvelopeError:
                unreadable += 1
    except CloakroomError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{store}: live sessions: {live}; entries that cannot be read: {unreadable}")
