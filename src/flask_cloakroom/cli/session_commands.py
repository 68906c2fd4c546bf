"""``flask sessions``: count, list, end and purge sessions."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import click
from flask import current_app

from ..context import this_app
from ..core.entries.envelope import EntryKind
from ..core.sessions.ending import walk_entries
from ..core.sessions.repository import PURGE_BATCH, Repository
from ..login.devices.user_agents import browser_and_system
from ..login.in_session.device_note import as_text, read_note
from ..login.setup.realm import KINDS_KEY
from ..sessions.interface import ServerSessionInterface, interface_of
from ..stores import Purges, Walks
from .group import CommandGroup

sessions = CommandGroup("sessions", help="Manage the server-side sessions.")


def _repository() -> Repository:
    return interface_of(current_app).repository


def _repositories_of_user_kinds() -> list[Repository]:
    app = this_app()
    interfaces = [kind.interface_for(app) for kind in app.extensions.get(KINDS_KEY, {}).values()]
    return [interface.repository for interface in interfaces if isinstance(interface, ServerSessionInterface)]


@sessions.command()
def purge() -> None:
    """Delete expired entries, in short steps, so that requests can write between the steps."""
    store = _repository().store
    if not isinstance(store, Purges):
        click.echo(f"{store}: deletes expired entries itself, nothing to purge.")
        return
    click.echo(f"{store}: {purge_all(store)} expired entries deleted.")


def purge_all(store: Purges) -> int:
    """Delete all expired entries and return their number.

    After each batch, pause for as long as the batch took, so that requests can write during half of the time.
    """
    total = 0
    while True:
        start = time.monotonic()
        deleted = store.purge(PURGE_BATCH)
        if not deleted:
            return total
        total += deleted
        time.sleep(time.monotonic() - start)


@sessions.command()
def count() -> None:
    """Count the live sessions. The command reads every entry of the store."""
    store = _repository().store
    if not isinstance(store, Walks):
        raise click.ClickException(f"{store} cannot list its entries to count them. Redis, SQLite and memory can.")
    live = unreadable = 0
    for _, _, header in walk_entries(store):
        if header is None:
            unreadable += 1
        else:
            live += header.kind is EntryKind.SESSION
    click.echo(f"{store}: live sessions: {live}; entries that cannot be read: {unreadable}")


@sessions.command("list")
@click.argument("user_id")
def list_of(user_id: str) -> None:
    """List the logins of the user with this id, the login with the latest activity first."""
    repository = _repository()
    found = repository.owners.logins(repository.tickets.owner_name(user_id))
    for header, owner, live in found:
        note = read_note(owner.note)
        start, seen = (f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}" for at in (header.created, header.seen))
        device = " on ".join(filter(None, browser_and_system(as_text(note.get("agent"))))) or "unknown device"
        address = as_text(note.get("address")) or "unknown address"
        state = "" if live else ", only remembered"
        click.echo(f"{owner.handle}  since {start}, last seen {seen} UTC, {device}, {address}{state}")
    if not found:
        click.echo("This user is not logged in.")


@sessions.command()
@click.argument("user_id", required=False)
@click.option("--handle", help="End only the login with this handle, as `list` shows it.")
@click.option("--everybody", is_flag=True, help="End the logins of all users, of every user kind.")
def end(user_id: str | None, handle: str | None, everybody: bool) -> None:
    """End the logins of the user with this id: the sessions on all devices, and the remember tokens."""
    if everybody == (user_id is not None) or (everybody and handle):
        raise click.UsageError("The command needs either the id of a user or --everybody. Give one of these two.")
    repository = _repository()
    if user_id is None:
        ended = sum(each.owners.end_everybody() for each in [repository, *_repositories_of_user_kinds()])
    else:
        name = repository.tickets.owner_name(user_id)
        ended = repository.owners.end(name, handle) if handle else repository.owners.end_all(name)
    click.echo(f"Sessions ended: {int(ended)}.")
