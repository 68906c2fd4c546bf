"""Live notices: a stream of server-sent events for each open page of a visitor with items in the cart.

An open stream occupies a thread of the server. So the number of streams is limited, and each stream ends after some
minutes. The browser then opens the stream again by itself.
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
from .announcements import POLL_SECONDS, Announcements, Inbox
from .catalogue import PRODUCTS

blueprint = Blueprint("notices", __name__)

#: The key of the application's :class:`Announcements` in ``app.extensions``.
EXTENSION_KEY = "sched.announcements"

#: Seconds after which a browser opens a stream again that ended or broke.
RETRY_SECONDS = 3
#: The same when there were too many streams.
BUSY_RETRY_SECONDS = 20
#: Seconds that a new stream waits for Redis. After that the stream starts anyway, and may miss a notice.
SUBSCRIBE_TIMEOUT = 2.0


def init_app(app: Flask) -> None:
    """Set up the streams and their settings.

    NOTICE_STREAMS is the most streams that may be open in one process. NOTICE_HEARTBEAT is the number of seconds
    between two heartbeats, and NOTICE_LONGEST the number of seconds after which a stream ends.
    """
    app.config.setdefault("NOTICE_STREAMS", 16)
    # Proxies close a silent connection after a minute, some of them after 30 seconds.
    app.config.setdefault("NOTICE_HEARTBEAT", 15)
    app.config.setdefault("NOTICE_LONGEST", 600)
    app.extensions[EXTENSION_KEY] = Announcements(app, stock.SOLD_OUT, app.config["NOTICE_STREAMS"])
    app.register_blueprint(blueprint)


def end_streams(app: Flask) -> None:
    """End every open stream, so that the server can stop. A signal handler may call it."""
    app.extensions[EXTENSION_KEY].end()


@blueprint.get("/notices")
@passive  # an open page must not keep the session from expiring
def stream() -> ResponseReturnValue:
    """Send a notice when a product in the visitor's cart is sold out.

    The cart is read once, at the start, because the session is closed when the response begins. After a change of the
    cart the next page opens a new stream.
    """
    wanted = frozenset(line.product.slug for line in cart.lines())
    if not wanted:
        return "", 204  # tells the browser not to open the stream again
    announcements: Announcements = current_app.extensions[EXTENSION_KEY]
    inbox = announcements.subscribe()
    if inbox is None:
        # Not a 503, after which browsers never try again. An empty stream makes them try again after the given time.
        return _response(iter([f"retry: {BUSY_RETRY_SECONDS * 1000}\n\n"]))
    # Waitress reports a closed connection. With other servers the next heartbeat fails.
    is_disconnected = request.environ.get("waitress.client_disconnected", lambda: False)
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    response = _response(_events(app, announcements, inbox, wanted, is_disconnected))
    response.call_on_close(lambda: announcements.unsubscribe(inbox))
    return response


def _response(events: Iterator[str]) -> Response:
    response = Response(events, mimetype="text/event-stream")
    response.cache_control.no_store = True
    response.headers["X-Accel-Buffering"] = "no"  # otherwise nginx buffers the events
    return response


def _events(
    app: Flask, announcements: Announcements, inbox: Inbox, wanted: frozenset[str], is_disconnected: Callable[[], bool]
) -> Iterator[str]:
    yield f"retry: {RETRY_SECONDS * 1000}\n\n"
    # Subscribe first, then read the stock. In the other order a sale between the two steps would be missed.
    announcements.wait_until_listening(SUBSCRIBE_TIMEOUT)
    with app.app_context():
        sold_out = stock.sold_out()
    for slug in sorted(wanted & sold_out):
        yield _event("gone", slug, f"{PRODUCTS[slug].name} is sold out. It is in your cart.")
    heartbeat: float = app.config["NOTICE_HEARTBEAT"]
    end = time.monotonic() + app.config["NOTICE_LONGEST"]
    quiet_since = time.monotonic()
    while time.monotonic() < end and not is_disconnected():
        try:
            sold = inbox.get(timeout=POLL_SECONDS)
        except Empty:
            if time.monotonic() - quiet_since >= heartbeat:
                quiet_since = time.monotonic()
                yield ": still here\n\n"
            continue
        if sold is None:
            return
        if sold in wanted:
            yield _event("sold-out", sold, f"{PRODUCTS[sold].name} has just sold out. It is in your cart.")


def _event(kind: str, slug: str, text: str) -> str:
    return f"event: {kind}\ndata: {json.dumps({'slug': slug, 'text': text})}\n\n"
