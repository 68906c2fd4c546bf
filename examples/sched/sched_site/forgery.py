"""A page that shows attacks being refused: what another site sent in the visitor's name, and why it was of no use.

There is such a site to try it with, ``other_site.py``, when the program was started with it; else there is no page.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from flask import Blueprint, Flask, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from flask_cloakroom import csrf_refused

from .other_site import loopback_name

blueprint = Blueprint("forgery", __name__, url_prefix="/attack")

EXTENSION_KEY = "sched.refusals"
#: So many are kept, in this process. The other site makes four when it is looked at and its button pressed.
KEEP = 8
#: Characters of a header that are shown. No browser sends an origin on this machine that is longer.
LONGEST_SHOWN = 60


class Refusal(NamedTuple):
    """A request that was refused. It holds nothing of what was sent, and of the cookie only whether there was one."""

    when: datetime
    #: The method, and the address as the site spells it.
    what: str
    #: What the browser said of where it came from; "" for nothing.
    origin: str
    fetch_site: str
    had_session: bool
    reason: str


def init_app(app: Flask) -> None:
    """Show the page if there is another site, and note down what is refused from now on."""
    if app.config.setdefault("OTHER_SITE_PORT", None) is None:
        return
    refusals: deque[Refusal] = deque(maxlen=KEEP)
    app.extensions[EXTENSION_KEY] = refusals

    def note(sender: Flask, reason: str, **other: Any) -> None:
        refusals.appendleft(_refusal(sender.config, reason))

    csrf_refused.connect(note, sender=app, weak=False)
    app.register_blueprint(blueprint)


@blueprint.get("", strict_slashes=False)
def show() -> ResponseReturnValue:
    """Tell what happened, and lead to the other site."""
    return render_template("attack.html", refusals=list(_refusals()), other_site=_other_site(), keep=KEEP)


@blueprint.post("/from-here")
def from_here() -> ResponseReturnValue:
    """Accept what was sent from the page itself, without a token: the other half of what is to be shown."""
    flash("Accepted: your browser said that it came from our own page.", "success")
    return redirect(url_for("forgery.show"))


def _refusals() -> deque[Refusal]:
    refusals: deque[Refusal] = current_app.extensions[EXTENSION_KEY]
    return refusals


def _other_site() -> str:
    # By the same name, because then it is the same site to the browser, and the visitor's cookies are sent.
    return f"http://{loopback_name(request.host)}:{current_app.config['OTHER_SITE_PORT']}/"


def _refusal(config: Mapping[str, Any], reason: str) -> Refusal:
    return Refusal(
        when=datetime.now(UTC),
        what=f"{request.method} {request.url_rule}",
        origin=request.headers.get("Origin", "")[:LONGEST_SHOWN],
        fetch_site=request.headers.get("Sec-Fetch-Site", "")[:LONGEST_SHOWN],
        had_session=config["SESSION_COOKIE_NAME"] in request.cookies,
        reason=reason,
    )
