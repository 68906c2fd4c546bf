"""Sched, a small shop with a calendar: the sample site of Flask-Cloakroom.

The folder is called sched and the package sched_site, because the standard library has a module ``sched``.
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

# The pages load nothing from other sites and have no inline scripts. `data:` is for small images of the toolkit.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; font-src 'self'; img-src 'self' data:; "
    "script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Create the application.

    Settings come from three places, and a later one wins: the defaults below, the environment (``REDIS_URL``,
    ``DATABASE_URL``, and every setting as ``SCHED_<NAME>``), and ``config``. The site writes its files into the
    instance folder. The environment variable ``SCHED_INSTANCE_PATH`` names another folder.
    """
    folder = os.environ.get("SCHED_INSTANCE_PATH")
    app = Flask(__name__, instance_path=str(Path(folder).resolve()) if folder else None)
    app.config.update(
        # For the sessions and all other data in Redis. The default is a private server that runs as long as the site.
        REDIS_URL=os.environ.get("REDIS_URL") or "embedded://",
        # For users and appointments. The default is a SQLite file in the instance folder.
        SQLALCHEMY_DATABASE_URI=os.environ.get("DATABASE_URL"),
        USER_SESSION_MERGE={"cart": cart.merge},
        # A name of its own. Browsers send a cookie of 127.0.0.1 to all ports, also to other sites on this machine.
        SESSION_COOKIE_NAME="sched_session",
        SESSION_COOKIE_SAMESITE="Lax",
        REMEMBER_COOKIE_NAME="sched_remember",
        # Longer than the idle timeout of a session. Otherwise the remember cookie would be useless.
        REMEMBER_COOKIE_DURATION=timedelta(days=90),
        MAX_CONTENT_LENGTH=64 * 1024,  # more than any form of the site needs
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
    app.jinja_env.filters["items_text"] = catalogue.items_text
    app.context_processor(lambda: {"cart_count": cart.count})
    app.after_request(_add_headers)
    return app


def _add_headers(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    if response.mimetype == "text/html":
        # Otherwise the back button would show the page of a user who has signed out.
        response.cache_control.no_store = True
    return response
