"""Sched, a small shop for people with appointments: the site that shows what Flask-Cloakroom does.

The folder is called sched and the package sched_site, because ``sched`` is a module of the standard library.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask, Response
from flask_bootstrap import Bootstrap5

from flask_cloakroom import Cloakroom

from . import (
    account,
    appointments,
    auth,
    cart,
    catalogue,
    dark_mode,
    database,
    errors,
    forgery,
    forms,
    health,
    notices,
    operators,
    proxies,
    rate_limits,
    registration,
    sales,
    samples,
    session_page,
    shop,
    traffic,
)
from .redis_client import redis

# Nothing is from elsewhere, and no script stands in a page. `data:` is for the toolkit's own small images.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; font-src 'self'; img-src 'self' data:; "
    "script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Make the application.

    Settings come from, the later one winning: the defaults below, the environment (``REDIS_URL``, ``DATABASE_URL``,
    and any setting as ``SCHED_<NAME>``), and ``config``. What the site writes itself is in its instance
    folder, which the environment's ``SCHED_INSTANCE_PATH`` moves.
    """
    folder = os.environ.get("SCHED_INSTANCE_PATH")
    app = Flask(__name__, instance_path=str(Path(folder).resolve()) if folder else None)
    app.config.update(
        # For the sessions and for all else that is in Redis. A private server that starts and ends with the site.
        REDIS_URL=os.environ.get("REDIS_URL") or "embedded://",
        # For the accounts. Without one, a file in the instance folder.
        SQLALCHEMY_DATABASE_URI=os.environ.get("DATABASE_URL"),
        USER_SESSION_MERGE={"cart": cart.merge},
        # A name of its own, because browsers send the cookies of 127.0.0.1 to every port of it.
        SESSION_COOKIE_NAME="sched_session",
        SESSION_COOKIE_SAMESITE="Lax",
        REMEMBER_COOKIE_NAME="sched_remember",
        # Longer than a session lasts that nobody uses, or else it would be of no use.
        REMEMBER_COOKIE_DURATION=timedelta(days=90),
        MAX_CONTENT_LENGTH=64 * 1024,  # no form here is longer
        SEND_FILE_MAX_AGE_DEFAULT=3600,
        BOOTSTRAP_SERVE_LOCAL=True,
    )
    app.config.from_prefixed_env("SCHED")
    app.config.update(config or {})

    proxies.init_app(app)
    redis.init_app(app)
    database.init_app(app)
    auth.init_app(Cloakroom(app))
    Bootstrap5(app)
    for part in (auth, registration, account, appointments, shop, sales, session_page, health, dark_mode):
        app.register_blueprint(part.blueprint)
    forgery.init_app(app)
    notices.init_app(app)
    errors.init_app(app)
    rate_limits.init_app(app)
    samples.init_app(app)
    traffic.init_app(app)
    operators.init_app(app)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals["has_token"] = forms.has_token
    app.jinja_env.filters["money"] = catalogue.money
    app.jinja_env.filters["things"] = catalogue.things
    app.context_processor(lambda: {"cart_count": cart.count})
    app.after_request(_add_headers)
    return app


def _add_headers(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    if response.mimetype == "text/html":
        # So that the back button shows nothing of a session that is over.
        response.cache_control.no_store = True
    return response
