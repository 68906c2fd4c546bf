"""All that belongs to a user: deleted, or handed out. For views, commands and workers alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import has_request_context

from ...context import this_app, this_request
from ...core.sessions.repository import Repository
from ...core.user_data.export import exported
from ...errors import CloakroomError
from ...sessions import ServerSession
from ...sessions.interface import ServerSessionInterface
from ..request.current import current_manager
from .proxy import StoredSession

if TYPE_CHECKING:
    from ..manager import LoginManager


def delete_user_data(user: Any) -> bool:
    """Delete all that is in ``user_session`` of this user, given as an object or by their id. False: there was nothing.

    A request that is under way does not bring it back: what it changes is dropped, and ``user_session_discarded`` tells
    so. Needs no request but only the application's context. Raises CloakroomError if sessions are not on the server,
    StoreError.
    """
    return delete_of(current_manager(), user)


def export_user_data(user: Any) -> str:
    """Return all that is in ``user_session`` of this user, given as an object or by their id, as JSON.

    Every type is readable: :func:`.sessions.export.exported` says how. Raises as :func:`delete_user_data`.
    """
    return export_of(current_manager(), user)


def delete_of(manager: LoginManager, user: Any) -> bool:
    """Do :func:`delete_user_data`, for users of this manager."""
    repository, name = _named(manager, user)
    deleted = repository.user_data.delete(name)
    session = manager.session_of(this_request()) if has_request_context() else None
    if isinstance(session, ServerSession):
        found = (session.companions or {}).get(name)
        if isinstance(found, StoredSession):
            found.drop()  # what this request has of it is late as well
    return deleted


def export_of(manager: LoginManager, user: Any) -> str:
    """Do :func:`export_user_data`, for users of this manager."""
    repository, name = _named(manager, user)
    return exported(repository.user_data.load(name).values)


def _named(manager: LoginManager, user: Any) -> tuple[Repository, str]:
    interface = manager.interface_for(this_app())
    if not isinstance(interface, ServerSessionInterface):
        raise CloakroomError(
            "what belongs to users is on the server: Session(app) or Cloakroom(app) of flask_cloakroom"
        )
    if user is None:
        raise ValueError("give the user, or their id; None is nobody")
    user_id = manager.id_of(user) if hasattr(user, manager.id_attribute) else user
    return interface.repository, interface.repository.tickets.owner_name(str(user_id))
