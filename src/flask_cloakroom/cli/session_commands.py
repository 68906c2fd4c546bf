"""``flask sessions``: what an operator does with the store."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import click
from flask import current_app
from flask.cli import AppGroup

from ..context import this_app
from ..core.entries.envelope import EntryKind
from ..core.sessions.ending import walk_entries
from ..core.sessions.repository import PURGE_BATCH, Repository
from ..errors import CloakroomError
from ..login.devices.user_agents import names_in
from ..login.in_session.device_note import read_note, text_in
from ..login.setup.realm import KINDS_KEY
from ..sessions.interface import ServerSessionInterface, interface_of
from ..stores import Purges, Walks

sessions = AppGroup("sessions", help="Look after the server-side sessions.")


def _repository() -> Repository:
    try:
        return interface_of(current_app).repository
    except CloakroomError as error:
        raise click.ClickException(str(error)) from error


def _of_other_kinds() -> list[Repository]:
    """Return the sessions of the application's other kinds of user, each beside its own."""
    app = this_app()
    interfaces = [kind.interface_for(app) for kind in app.extensions.get(KINDS_KEY, {}).values()]
    return [interface.repository for interface in interfaces if isinstance(interface, ServerSessionInterface)]


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
        for _, _, header in walk_entries(store):
            if header is None:
                unreadable += 1
            else:
                live += header.kind is EntryKind.SESSION
    except CloakroomError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{store}: live sessions: {live}; entries that cannot be read: {unreadable}")


@sessions.command("list")
@click.argument("user_id")
def list_of(user_id: str) -> None:
    """Show where the user with this id is logged in, what was used last first."""
    repository = _repository()
    name = repository.tickets.owner_name(user_id)
    try:
        found = repository.owners.logins(name)
    except CloakroomError as error:
        raise click.ClickException(str(error)) from error
    for header, owner, live in found:
        note = read_note(owner.note)
        began, seen = (f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}" for at in (header.created, header.seen))
        device = " on ".join(filter(None, names_in(text_in(note.get("agent"))))) or "unknown device"
        address = text_in(note.get("address")) or "unknown address"
        state = "" if live else ", only remembered"
        click.echo(f"{owner.handle}  since {began}, last seen {seen} UTC, {device}, {address}{state}")
    if not found:
        click.echo("Nowhere.")


@sessions.command()
@click.argument("user_id", required=False)
@click.option("--handle", help="Only the login with this handle, as `list` shows it.")
@click.option("--everybody", is_flag=True, help="The logins of all users, of every kind.")
def end(user_id: str | None, handle: str | None, everybody: bool) -> None:
    """End the logins of the user with this id: their sessions on all devices, and what remembers them."""
    if everybody == (user_id is not None) or (everybody and handle):
        raise click.UsageError("Give either the id of a user, or --everybody.")
    repository = _repository()
    try:
        if user_id is None:
            ended = sum(one.owners.end_everybody() for one in [repository, *_of_other_kinds()])
        else:
            name = repository.tickets.owner_name(user_id)
            ended = repository.owners.end(name, handle) if handle else repository.owners.end_all(name)
    except CloakroomError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"Sessions ended: {int(ended)}.")
