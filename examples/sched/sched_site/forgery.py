"""A page that shows forged requests: what another site sent in the visitor's name, and why the shop blocked it.

The page exists only if ``python -m sched_site`` runs the attacking site of ``other_site.py`` beside the shop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from flask import Blueprint, Flask, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from flask_cloakroom import csrf_refused

from . import cart
from .catalogue import PRODUCTS
from .other_site import loopback_name

blueprint = Blueprint("forgery", __name__, url_prefix="/attack")

EXTENSION_KEY = "sched.refusals"
#: How many blocked requests this process remembers. One visit to the attacking site makes four.
MAX_REFUSALS = 8
#: Characters of a header that are shown. An origin of this machine is shorter.
MAX_HEADER_LENGTH = 60
#: The product that goes into an empty cart, so that an attack has something to remove.
BAIT = PRODUCTS["desk-bell"]


class Refusal(NamedTuple):
    """A request that was blocked. It holds no form values, and of the cookie only whether the browser sent it."""

    when: datetime
    #: The method and the URL rule, such as "POST /cart/empty".
    request_line: str
    #: The Origin header; "" if the browser did not send it.
    origin: str
    #: The Sec-Fetch-Site header; "" if the browser did not send it.
    fetch_site: str
    had_session: bool
    reason: str


def init_app(app: Flask) -> None:
    """Register the page if the attacking site runs, and record blocked requests from now on."""
    if app.config.setdefault("OTHER_SITE_PORT", None) is None:
        return
    refusals: deque[Refusal] = deque(maxlen=MAX_REFUSALS)
    app.extensions[EXTENSION_KEY] = refusals

    def record(sender: Flask, reason: str, **other: Any) -> None:
        refusals.appendleft(_refusal(sender.config, reason))

    csrf_refused.connect(record, sender=app, weak=False)
    app.register_blueprint(blueprint)


@blueprint.get("", strict_slashes=False)
def show() -> ResponseReturnValue:
    """Show the blocked requests and a link to the attacking site."""
    refusals = list(current_app.extensions[EXTENSION_KEY])
    return render_template("attack.html", refusals=refusals, other_site=_other_site(), limit=MAX_REFUSALS)


@blueprint.post("/from-here")
def from_here() -> ResponseReturnValue:
    """Accept a form without a token, because the browser reports that the shop's own page sent it."""
    flash("Accepted: your browser reported that our own page sent the form.", "success")
    return redirect(url_for("forgery.show"))


@blueprint.post("/fill-cart")
def fill_cart() -> ResponseReturnValue:
    """Put one product into the cart, so that the attack has something to remove."""
    quantity = cart.add(BAIT)
    flash(f"{BAIT.name}: {quantity} in your cart.", "success")
    return redirect(url_for("forgery.show"))


def _other_site() -> str:
    # Under the same host name as the shop. Then the browser treats both as the same site and sends the cookies.
    return f"http://{loopback_name(request.host)}:{current_app.config['OTHER_SITE_PORT']}/"


def _refusal(config: Mapping[str, Any], reason: str) -> Refusal:
    return Refusal(
        when=datetime.now(UTC),
        request_line=f"{request.method} {request.url_rule}",
        origin=request.headers.get("Origin", "")[:MAX_HEADER_LENGTH],
        fetch_site=request.headers.get("Sec-Fetch-Site", "")[:MAX_HEADER_LENGTH],
        had_session=config["SESSION_COOKIE_NAME"] in request.cookies,
        reason=reason,
    )
