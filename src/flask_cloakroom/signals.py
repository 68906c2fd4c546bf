"""The signals of this package. Each signal is a blinker signal, and its sender is the application."""

from __future__ import annotations

from blinker import Namespace

_signals = Namespace()

#: A new session was stored and got its ticket. Arguments: ``sid`` (the session's public id).
session_created = _signals.signal("session-created")

#: A session got a new ticket and has the same values. Arguments: ``sid``, ``old_sid`` (the public id before),
#: ``reason`` (``"privilege"`` for a rotation, ``"renewal"`` for a renewal).
session_rotated = _signals.signal("session-rotated")

#: ``session.destroy()`` or ``session.clear()`` ended a session. Arguments: ``sid``.
session_destroyed = _signals.signal("session-destroyed")

#: Two requests changed the same value, and one change was lost. Arguments: ``key`` (the top-level key),
#: ``path`` (a tuple of keys from the top-level key to the value), ``base`` (the value before both changes), ``theirs``
#: (the other request's value, which was saved first), ``mine`` (this request's value), ``kept`` (the value that is
#: stored now: ``"mine"`` or ``"theirs"``), ``sid``. A missing value is ``flask_cloakroom.MISSING``.
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
#: outage. Arguments: ``client`` (the FlaskRedis object), ``cause`` (the class name of the error).
redis_lost = _signals.signal("redis-lost")

#: A connection to a Redis server works again. Arguments: ``client``, ``seconds`` (the length of the outage; 0.0 if only
#: an idle connection was closed and replaced).
redis_restored = _signals.signal("redis-restored")

#: Sentinel named another master. Arguments: ``client``, ``old`` and ``new`` (addresses of masters, ``"host:port"``).
redis_moved = _signals.signal("redis-moved")

#: ``login_user()`` logged a user in. Arguments: ``user``. Flask-Login has the same name for this signal.
user_logged_in = _signals.signal("logged-in")

#: A login was not saved, although :data:`user_logged_in` was sent for it: the store failed, or the session was too
#: large. The visitor has the same login as before, or none. Arguments: ``user``.
user_login_not_saved = _signals.signal("login-not-saved")

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

#: A remember token was used again long after its first use, and made another successor, because no browser had shown
#: the successor before. Usually the response was lost, but somebody may have a copy of the token. Arguments:
#: ``user_id`` (text), ``handle`` (as in the list of the user's sessions).
remember_token_repeated = _signals.signal("remember-token-repeated")

#: ``revoke_session()`` ended a login. Arguments: ``handle`` (as in the list of the user's sessions), ``operator``
#: (True if an operator ended the login, and False if the user did).
session_revoked = _signals.signal("session-revoked")

#: ``logout_everywhere()`` was called. Arguments: ``user_id`` (text), ``ended`` (the number of sessions that it ended).
user_logged_out_everywhere = _signals.signal("logged-out-everywhere")

#: ``confirm_login()`` made a login fresh.
user_login_confirmed = _signals.signal("login-confirmed")

#: A visitor who is not logged in requested a page that needs a login.
user_unauthorized = _signals.signal("unauthorized")

#: A user without a fresh login requested a page that needs a fresh login.
user_needs_refresh = _signals.signal("needs-refresh")

#: A view or template used the user of the request for the first time in this request.
user_accessed = _signals.signal("accessed")

#: An impersonation began. Arguments: ``user`` (the impersonated user), ``impersonator`` (the support member).
impersonation_started = _signals.signal("impersonation-started")

#: An impersonation ended: by ``stop_impersonating()``, a login, a logout, or the end of the session's login. Arguments:
#: ``user`` and ``impersonator``; an argument is None if that user could not be loaded. Not sent when a session expires.
impersonation_ended = _signals.signal("impersonation-ended")

#: A login was used in another browser than at its start. By this, the login has ended or is no longer fresh.
session_protected = _signals.signal("session-protected")

#: The CSRF protection refused a request. Arguments: ``reason`` (the text that the error page shows).
csrf_refused = _signals.signal("csrf-refused")

#: Visitor data was merged into the ``user_session`` of the user who logged in. Arguments: ``user_id`` (text),
#: ``changes`` (a tuple ``(key, before, after)`` for each changed key; a missing value is ``flask_cloakroom.MISSING``).
user_session_merged = _signals.signal("user-session-merged")

#: A value of ``user_session`` was lost: two requests changed the same value, or the visitor data that was merged at
#: login had another value. Arguments: ``user_id`` (text), and the arguments of ``session_conflict`` without ``sid``.
user_session_conflict = _signals.signal("user-session-conflict")

#: Changes to ``user_session`` were not saved, because the user's data was deleted while the request ran
#: (``reason`` is ``"gone"``), or because the request's credential was refused (``"refused"``). Arguments: ``user_id``
#: (text, or None), ``keys`` (the keys that were not saved), ``reason``.
user_session_discarded = _signals.signal("user-session-discarded")
