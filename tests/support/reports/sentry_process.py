"""Travel with sentry-sdk installed, in a process of its own, which that changes.

Prints "held" and whether it met enough bugs.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import sentry_sdk
from sentry_sdk.scrubber import DEFAULT_DENYLIST, EventScrubber

from support.reports.reporters import Kept, texts_of_event
from support.reports.sites import Site, travel

ADVISED = EventScrubber(denylist=[*DEFAULT_DENYLIST, "http_cookie", "http_authorization"], recursive=True)


class CookieFirst:
    """Puts the cookies where Sentry, which cuts off the end of a long dict, surely shows them."""

    def __init__(self, application: Any) -> None:
        self.application = application

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        later = dict(environ)
        environ.clear()
        environ.update({"HTTP_COOKIE": later.pop("HTTP_COOKIE", ""), **later})
        return self.application(environ, start_response)


def main(advised: bool) -> None:
    transport = Kept()
    options = {"event_scrubber": ADVISED} if advised else {}
    sentry_sdk.init(dsn="http://key@127.0.0.1:1/1", transport=transport, **options)
    for call in (1, 12, 40, 80, 120, 160):
        site = Site()
        site.app.wsgi_app = CookieFirst(site.app.wsgi_app)  # type: ignore[method-assign]
        site.store.left = call
        travel(site)
        for event in transport.events:
            shown = [json.dumps(event)] if advised else texts_of_event(event)
            site.secrets.check(without_own_frames(shown) if advised else shown, "an event")
    print("held", len(transport.events) > 5)


def without_own_frames(texts: list[str]) -> list[str]:
    """Leave out the variables of this test's own functions, and the page that a view has returned to Flask.

    A page with a form shows its visitor the token, so Flask shows the token to whoever sees the page.
    """
    events = [json.loads(text) for text in texts]
    for event in events:
        for value in event.get("exception", {}).get("values", []):
            for frame in value.get("stacktrace", {}).get("frames", []):
                if frame["module"].startswith("reports."):
                    frame.pop("vars", None)
                elif frame["module"] == "flask.app":
                    frame.get("vars", {}).pop("rv", None)
    return [json.dumps(event) for event in events]


main(sys.argv[1] == "advised")
