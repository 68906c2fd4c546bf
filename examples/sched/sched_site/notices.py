"""Live notices: a stream of server-sent events for each page whose visitor has something in the cart.

A stream holds a thread of the server for as long as it is open, so their number is bounded, and each ends after a
while; browsers open it again by themselves.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from queue import Empty

from flask import Blueprint, Flask, Response, current_app, request
from flask.typing import ResponseReturnValue

from flask_cloakroom import passive

from . import cart, stock
from .announcements import LOOK, Announcements, Inbox
from .catalogue import PRODUCTS

blueprint = Blueprint("notices", __name__)

#: Where the application keeps its :class:`Announcements`.
EXTENSION_KEY = "sched.announcements"

#: Seconds after which a browser opens a stream again that ended or broke.
AGAIN = 3
#: And after which it tries again when there were too many.
LATER = 20
#: Seconds that a stream waits for Redis at its start. Without it, it goes on, and may miss what is sold meanwhile.
PATIENCE = 2.0


def init_app(app: Flask) -> None:
    """Set up the streams: NOTICE_STREAMS is how many may be open in a process at one time, NOTICE_HEARTBEAT and
    NOTICE_LONGEST are the seconds between two signs of life and those after which a stream ends."""
    app.config.setdefault("NOTICE_STREAMS", 16)
    # Proxies close what is silent for a minute, some after 30 seconds.
    app.config.setdefault("NOTICE_HEARTBEAT", 15)
    app.config.setdefault("NOTICE_LONGEST", 600)
    app.extensions[EXTENSION_KEY] = Announcements(app, stock.SOLD_OUT, app.config["NOTICE_STREAMS"])
    app.register_blueprint(blueprint)


def end_streams(app: Flask) -> None:
    """End every open stream, so that the server can stop. A signal handler may call it."""
    app.extensions[EXTENSION_KEY].end()


@blueprint.get("/notices")
@passive  # an open page is no activity: it must not keep a session from ending
def stream() -> ResponseReturnValue:
    """Tell when something is sold out that is in the visitor's cart.

    What is in the cart is read once, now: the session is closed when the answer begins. Pages that change the cart
    open another stream.
    """
    wanted = frozenset(line.product.slug for line in cart.lines())
    if not wanted:
        return "", 204  # which tells the browser not to come again
    announcements: Announcements = current_app.extensions[EXTENSION_KEY]
    inbox = announcements.join()
    if inbox is None:
        # Not 503: browsers would give up for good, while they come again to a stream that ended, when it says.
        return _response(iter([f"retry: {LATER * 1000}\n\n"]))
    # Waitress says whether the browser is still there; elsewhere the heartbeat finds out.
    is_gone = request.environ.get("waitress.client_disconnected", lambda: False)
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    response = _response(_events(app, announcements, inbox, wanted, is_gone))
    response.call_on_close(lambda: announcements.leave(inbox))
    return response


def _response(events: Iterator[str]) -> Response:
    response = Response(events, mimetype="text/event-stream")
    response.cache_control.no_store = True
    response.headers["X-Accel-Buffering"] = "no"  # nginx would wait for more to pass on
    return response


def _events(
    app: Flask, announcements: Announcements, inbox: Inbox, wanted: frozenset[str], is_gone: Callable[[], bool]
) -> Iterator[str]:
    yield f"retry: {AGAIN * 1000}\n\n"
    # First listen, then look: what was sold since the page was made is in the one or in the other.
    announcements.wait(PATIENCE)
    with app.app_context():
        sold_out = stock.sold_out()
    for slug in sorted(wanted & sold_out):
        yield _event("gone", slug, f"{PRODUCTS[slug].name} is sold out; it is in your cart.")
    heartbeat: float = app.config["NOTICE_HEARTBEAT"]
    end = time.monotonic() + app.config["NOTICE_LONGEST"]
    quiet_since = time.monotonic()
    while time.monotonic() < end and not is_gone():
        try:
            sold = inbox.get(timeout=LOOK)
        except Empty:
            if time.monotonic() - quiet_since >= heartbeat:
                quiet_since = time.monotonic()
                yield ": still here\n\n"
            continue
        if sold is None:
            return
        if sold in wanted:
            yield _event("sold-out", sold, f"{PRODUCTS[sold].name} has just sold out; it is in your cart.")


def _event(kind: str, slug: str, text: str) -> str:
    return f"event: {kind}\ndata: {json.dumps({'slug': slug, 'text': text})}\n\n"
