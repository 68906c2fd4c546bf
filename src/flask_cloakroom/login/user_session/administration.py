"""Delete or export the data of a user. Views, commands and workers call this."""

from __future__ import annotations

from typing import Any

from flask import has_request_context

from ...context import this_app, this_request
from ...core.sessions.repository import Repository
from ...core.user_data.export import to_json
from ...errors import CloakroomError
from ...sessions import ServerSession
from ...sessions.interface import ServerSessionInterface
from ..setup.realm import Realm
from .mappings import StoredSession


def delete_data(realm: Realm, user: Any) -> bool:
    """Delete the data of a user of the realm: see :func:`.actions.delete_user_data`."""
    repository, name = _repository_and_owner(realm, user)
    deleted = repository.user_data.delete(name)
    session = realm.session_of(this_request()) if has_request_context() else None
    if isinstance(session, ServerSession):
        found = (session.companions or {}).get(name)
        if isinstance(found, StoredSession):
            found.drop_changes()  # otherwise the save of this request would store its changes again
    return deleted


def export_data(realm: Realm, user: Any) -> str:
    """Return the data of a user of the realm as JSON text: see :func:`.actions.export_user_data`."""
    repository, name = _repository_and_owner(realm, user)
    return to_json(repository.user_data.load(name).values)


def _repository_and_owner(realm: Realm, user: Any) -> tuple[Repository, str]:
    interface = realm.interface_for(this_app())
    if not isinstance(interface, ServerSessionInterface):
        raise CloakroomError(
            "user data needs sessions on the server. Use Session(app) or Cloakroom(app) of flask_cloakroom"
        )
    if user is None:
        raise ValueError("the user is None. Give a user object or the id of a user")
    user_id = realm.id_of(user) if hasattr(user, realm.id_attribute) else user
    return interface.repository, interface.repository.tickets.owner_name(str(user_id))
