"""Signals, by which other code learns of events. Each is a blinker signal with the application as sender."""

from __future__ import annotations

from blinker import Namespace

_signals = Namespace()

#: A new session got its ticket. Arguments: ``sid`` (public id).
session_created = _signals.signal("session-created")

#: The session got a new ticket and kept its data. Arguments: ``sid``, ``old_sid``,
#: ``reason`` (``"privilege"`` for a rotation, ``"renewal"``).
session_rotated = _signals.signal("session-rotated")

#: ``session.destroy()`` or ``session.clear()`` ended a session. Arguments: ``sid``.
session_destroyed = _signals.signal("session-destroyed")

#: Two requests changed the same value, and one change was lost. Arguments: ``key`` (the top-level key),
#: ``path`` (a tuple of keys from there to the value), ``base`` (the value before), ``theirs`` (the other request's
#: value, which was saved first), ``mine``, ``kept`` (``"mine"`` or ``"theirs"``), ``sid``. A missing value is
#: ``flask_cloakroom.MISSING``.
session_conflict = _signals.signal("session-conflict")

#: Changes were not saved, because another request had ended or moved the session.
#: Arguments: ``keys`` (the top-level keys that were not saved), ``sid``, ``reason``
#: (``"gone"``: destroyed, revoked or expired; ``"superseded"``: the request's ticket is no longer valid).
session_discarded = _signals.signal("session-discarded")

#: A ticket was used after its renewal, when it was no longer valid. Somebody may have a copy of it.
#: Arguments: ``sid``.
session_reused = _signals.signal("session-reused")

#: A session cookie was refused. Arguments: ``reason`` (``"malformed"``, ``"unknown"``, ``"unreadable"``),
#: ``sid`` (None if the value cannot be a ticket).
session_rejected = _signals.signal("session-rejected")

#: A Redis server of this application cannot be reached, or an open connection to it broke. Sent once for each
#: outage. Arguments: ``client`` (the FlaskRedis), ``cause`` (the class name of the error).
redis_lost = _signals.signal("redis-lost")

#: A connection was made again. Arguments: ``client``, ``seconds`` (since the connection was lost; 0.0 if an idle
#: connection was replaced at once).
redis_restored = _signals.signal("redis-restored")

#: Sentinel named another master. Arguments: ``client``, ``old``, ``new`` (``"host:port"``).
redis_moved = _signals.signal("redis-moved")

#: ``login_user()`` logged a user in. Arguments: ``user``. This signal and the next ones have Flask-Login's names.
user_logged_in = _signals.signal("logged-in")

#: ``logout_user()`` was called. Arguments: ``user``, which may be an anonymous user.
user_logged_out = _signals.signal("logged-out")

#: The remember cookie logged a user in. Arguments: ``user``.
user_loaded_from_cookie = _signals.signal("loaded-from-cookie")

#: A ``header_loader`` found a user. Deprecated, as header loaders are. Arguments: ``user``.
user_loaded_from_header = _signals.signal("loaded-from-header")

#: A ``request_loader`` found a user. Arguments: ``user``.
user_loaded_from_request = _signals.signal("loaded-from-request")

#: A remember token was used after it had been replaced. Somebody may have a copy of it, so its token family was
#: ended. Arguments: ``user_id`` (text), ``handle`` (as in the list of the user's sessions).
remember_token_reused = _signals.signal("remember-token-reused")

#: ``revoke_session()`` ended a login. Arguments: ``handle`` (as in the list of the user's sessions), ``operator``.
session_revoked = _signals.signal("session-revoked")

#: ``logout_everywhere()`` was called. Arguments: ``user_id`` (text), ``ended`` (the number of sessions).
user_logged_out_everywhere = _signals.signal("logged-out-everywhere")

#: ``confirm_login()`` made a login fresh.
user_login_confirmed = _signals.signal("login-confirmed")

#: A visitor who is not logged in asked for a page for users.
user_unauthorized = _signals.signal("unauthorized")

#: A user without a fresh login asked for a page that needs a fresh login.
user_needs_refresh = _signals.signal("needs-refresh")

#: A request used its user for the first time.
user_accessed = _signals.signal("accessed")

#: An impersonation began. Arguments: ``user`` (whom the support member sees the site as), ``impersonator``.
impersonation_started = _signals.signal("impersonation-started")

#: An impersonation ended: by ``stop_impersonating()``, a login, a logout, or the end of the session's login. Arguments:
#: ``user`` and ``impersonator``; either is None if it could not be loaded. Not sent when a session expires.
impersonation_ended = _signals.signal("impersonation-ended")

#: A login was used in another browser than the one in which it was made. It is no longer fresh, or it has ended.
session_protected = _signals.signal("session-protected")

#: The CSRF protection refused a request. Arguments: ``reason`` (as on the error page).
csrf_refused = _signals.signal("csrf-refused")

#: Visitor data was merged into the ``user_session`` of the user who logged in. Arguments: ``user_id`` (text),
#: ``changes`` (a tuple ``(key, before, after)`` for each changed key; a missing value is ``flask_cloakroom.MISSING``).
user_session_merged = _signals.signal("user-session-merged")

#: Two requests, or a visitor and the user, had different values in one place of ``user_session``, and one value was
#: lost. Arguments: ``user_id`` (text), and those of ``session_conflict`` without ``sid``.
user_session_conflict = _signals.signal("user-session-conflict")

#: Changes to ``user_session`` were not saved, because the user's data was deleted while the request ran, or because
#: the request's credential was refused. Arguments: ``user_id`` (text, or None), ``keys``,
#: ``reason`` (``"gone"``, ``"refused"``).
user_session_discarded = _signals.signal("user-session-discarded")
