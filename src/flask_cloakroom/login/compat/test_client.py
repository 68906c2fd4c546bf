"""``FlaskLoginClient``: a test client that is logged in from the start."""

from __future__ import annotations

from typing import Any

from flask.testing import FlaskClient

from ..in_session.session_login import login_values
from ..setup.realm import realm_of


class FlaskLoginClient(FlaskClient):
    """A test client for ``app.test_client_class``: ``app.test_client(user=user)`` is logged in as that user.

    ``fresh_login=False`` makes a login that is not fresh. The session gets the same keys as from ``login_user()``, so
    SESSION_PROTECTION accepts requests with the client's own User-Agent.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take the arguments of Flask's client, and ``user`` and ``fresh_login``."""
        user = kwargs.pop("user", None)
        fresh = kwargs.pop("fresh_login", True)
        super().__init__(*args, **kwargs)
        if user is None:
            return
        values = login_values(
            user,
            realm_of(self.application).id_of(user),
            fresh=fresh,
            forced=False,
            user_agent=self.environ_base.get("HTTP_USER_AGENT"),
        )
        with self.session_transaction() as session:
            session.update(values)
