"""What other code may want to know about. Each is a blinker signal sent with the application as sender."""

from __future__ import annotations

from blinker import Namespace

_signals = Namespace()

#: A ticket was issued for a new session. Arguments: ``sid`` (public hashed id).
session_created = _signals.signal("session-created")

#: The ticket changed and the data stayed. Arguments: ``sid``, ``old_sid``,
#: ``reason`` (``"privilege"`` or ``"renewal"``).
session_rotated = _signals.signal("session-rotated")

#: A session was ended by ``session.destroy()`` or ``session.clear()``. Arguments: ``sid``.
session_destroyed = _signals.signal("session-destroyed")

#: Two requests changed the same thing and one had to win. Arguments: ``key`` (the top-level key),
#: ``path`` (a tuple of keys from there to what was contested), ``base``, ``theirs`` (what the other request
#: had saved), ``mine``, ``kept`` (``"mine"`` or ``"theirs"``), ``sid``. A missing value is
#: ``flask_cloakroom.MISSING``.
session_conflict = _signals.signal("session-conflict")

#: Changes were dropped because the session had been ended or moved by another request.
#: Arguments: ``keys`` (the top-level keys that were not saved), ``sid``, ``reason``
#: (``"gone"``: destroyed, revoked or expired; ``"superseded"``: it carried a ticket that is no longer valid).
session_discarded = _signals.signal("session-discarded")

#: A ticket came back after its renewal's overlap was over: a copy of it may be in other hands.
#: Arguments: ``sid``.
session_reused = _signals.signal("session-reused")

#: A cookie was refused. Arguments: ``reason`` (``"malformed"``, ``"unknown"``, ``"unreadable"``),
#: ``sid`` (or None where the value can't be a ticket).
session_rejected = _signals.signal("session-rejected")

#: A Redis server that this application uses cannot be reached, or an open connection to it broke. Sent once for an
#: outage. Arguments: ``client`` (the FlaskRedis), ``cause`` (the error's class name).
redis_lost = _signals.signal("redis-lost")

#: A connection was made again. Arguments: ``client``, ``seconds`` (since it was lost; 0.0 if an idle one was replaced
#: at once).
redis_restored = _signals.signal("redis-restored")

#: Sentinel named another master. Arguments: ``client``, ``old``, ``new`` (``"host:port"``).
redis_moved = _signals.signal("redis-moved")

#: A user was logged in by ``login_user()``. Arguments: ``user``. This and the next ones have Flask-Login's names.
user_logged_in = _signals.signal("logged-in")

#: ``logout_user()`` was called. Arguments: ``user``, who may be an anonymous one.
user_logged_out = _signals.signal("logged-out")

#: A remembered user was logged in by their cookie. Arguments: ``user``.
user_loaded_from_cookie = _signals.signal("loaded-from-cookie")

#: A ``header_loader`` found a user. Deprecated with it. Arguments: ``user``.
user_loaded_from_header = _signals.signal("loaded-from-header")

#: A ``request_loader`` found a user. Arguments: ``user``.
user_loaded_from_request = _signals.signal("loaded-from-request")

#: A remember token that had been replaced came back: somebody may have a copy. The login has been ended on the device
#: that it belongs to. Arguments: ``user_id`` (text), ``handle`` (as in the list of the user's sessions).
remember_token_reused = _signals.signal("remember-token-reused")

#: ``revoke_session()`` ended a login. Arguments: ``handle`` (as in the list of the user's sessions), ``operator``.
session_revoked = _signals.signal("session-revoked")

#: ``logout_everywhere()`` was called. Arguments: ``user_id`` (text), ``ended`` (how many sessions).
user_logged_out_everywhere = _signals.signal("logged-out-everywhere")

#: ``confirm_login()`` made a login fresh.
user_login_confirmed = _signals.signal("login-confirmed")

#: Somebody who is not logged in wanted a page for those who are.
user_unauthorized = _signals.signal("unauthorized")

#: Somebody whose login is not fresh wanted a page that needs it.
user_needs_refresh = _signals.signal("needs-refresh")

#: A request asks for its user for the first time.
user_accessed = _signals.signal("accessed")

#: A user sees the site as another from here on. Arguments: ``user`` (the other), ``impersonator``.
impersonation_started = _signals.signal("impersonation-started")

#: And does so no more: by ``stop_impersonating()``, a login, a logout, or because the session's login ended. Arguments:
#: ``user`` and ``impersonator``, None for one who was not loaded any more. A session that expires tells nobody.
impersonation_ended = _signals.signal("impersonation-ended")

#: A login turned up in another browser than the one it was made in: it is fresh no more, or has ended.
session_protected = _signals.signal("session-protected")

#: A request was refused, because another site may have forged it. Arguments: ``reason`` (as in the error's page).
csrf_refused = _signals.signal("csrf-refused")

#: What a visitor had was merged into the ``user_session`` of the user who logged in. Arguments: ``user_id`` (text),
#: ``changes`` (one ``(key, before, after)`` for each key that changed; ``flask_cloakroom.MISSING`` for a value that was
#: not there).
user_session_merged = _signals.signal("user-session-merged")

#: Two requests, or a visitor and the user, had another value in one place of ``user_session``, and one had to win.
#: Arguments: ``user_id`` (text), and else those of ``session_conflict`` but for ``sid``.
user_session_conflict = _signals.signal("user-session-conflict")

#: Changes to ``user_session`` were dropped, because what belongs to the user was deleted while the request ran, or
#: because the request showed a credential that was refused. Arguments: ``user_id`` (text, or None), ``keys``,
#: ``reason`` (``"gone"``, ``"refused"``).
user_session_discarded = _signals.signal("user-session-discarded")
