"""What error reporters show of an exception, in the frames of the package; and whether a secret is in it."""

from __future__ import annotations

import base64
import json
import traceback
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.scrubber import EventScrubber
from sentry_sdk.transport import Transport
from sentry_sdk.utils import event_from_exception
from werkzeug.debug.repr import debug_repr
from werkzeug.debug.tbtools import DebugTraceback

import flask_cloakroom

PACKAGE = Path(flask_cloakroom.__file__).parent
#: Where a value stands that the application's code has just given to the package, or is given by it: the value that is
#: set, what a strategy is asked to merge, what a receiver is told. All else of a session is hidden there too.
HANDED_OVER = (
    "core/values/lazy.py __setitem__() value=",
    "login/user_session/mappings.py __setitem__() value=",
    "core/values/merge.py merge() base=",
    "core/values/merge.py merge() theirs=",
    "core/values/merge.py merge() mine=",
    "core/values/rebase.py rebase() three=",
    "core/values/rebase.py rebase() value=",
    "sessions/work.py send() arguments=",
)
#: Characters: a piece of a secret that is as long as this must not be shown.
PIECE = 20


class Kept(Transport):
    """Sends nothing: it keeps the events."""

    def __init__(self) -> None:
        super().__init__({})
        self.events: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        event = envelope.get_event()
        if event is not None:
            self.events.append(json.loads(json.dumps(event)))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _is_of_package(file: str) -> bool:
    return Path(file).is_relative_to(PACKAGE)


def _shown(file: str, function: str, variable: str, text: str) -> str:
    return f"{Path(file).relative_to(PACKAGE).as_posix()} {function}() {variable}={text}"


def by_traceback(error: BaseException) -> Iterator[str]:
    """Yield what the standard library shows with local variables."""
    shown: traceback.TracebackException | None = traceback.TracebackException.from_exception(error, capture_locals=True)
    while shown is not None:
        yield "".join(shown.format_exception_only())
        for frame in shown.stack:
            if _is_of_package(frame.filename):
                for name, text in (frame.locals or {}).items():
                    yield _shown(frame.filename, frame.name, name, text)
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)


def by_werkzeug(error: BaseException) -> Iterator[str]:
    """Yield the page of the debugger, and what its console shows of local variables."""
    page = DebugTraceback(error)
    yield page.render_traceback_html()
    yield page.render_debugger_html(evalex=True, secret="", evalex_trusted=True)
    for one in _chain(error):
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if _is_of_package(frame.f_code.co_filename):
                for name, value in frame.f_locals.items():
                    yield _shown(frame.f_code.co_filename, frame.f_code.co_name, name, debug_repr(value))


@cache
def _sentry() -> tuple[sentry_sdk.Client, Kept]:
    transport = Kept()
    scrubber = EventScrubber(denylist=[], pii_denylist=[])
    client = sentry_sdk.Client(
        dsn="http://key@127.0.0.1:1/1",
        transport=transport,
        event_scrubber=scrubber,
        default_integrations=False,
        release="none",  # else it asks git
    )
    return client, transport


def by_sentry(error: BaseException) -> Iterator[str]:
    """Yield the event of sentry-sdk with its defaults, but that no name of a variable helps: nothing is scrubbed."""
    client, transport = _sentry()
    event, hint = event_from_exception(error, client_options=client.options)
    client.capture_event(event, hint, sentry_sdk.Scope())
    yield from texts_of_event(transport.events.pop())


def texts_of_event(event: dict[str, Any]) -> Iterator[str]:
    """Yield an event of Sentry's without the local variables of frames that are not the package's."""
    for value in event.get("exception", {}).get("values", []):
        for frame in value.get("stacktrace", {}).get("frames", []):
            found = frame.pop("vars", None) or {}
            if _is_of_package(frame["abs_path"]):
                for name, shown in found.items():
                    yield _shown(frame["abs_path"], frame["function"], name, json.dumps(shown))
    yield json.dumps(event)


REPORTERS = {"traceback": by_traceback, "werkzeug": by_werkzeug, "sentry": by_sentry}


class Secrets:
    """What nobody may see: in whatever form, whole or in part."""

    def __init__(self) -> None:
        self._pieces: dict[str, str] = {}
        self._known: set[str | bytes] = set()

    def add(self, name: str, *found: str | bytes) -> None:
        """Add secrets of a kind; what is shorter than a piece is none."""
        for one in found:
            if one not in self._known:
                self._known.add(one)
                for form in _forms(one):
                    self._pieces.update((piece, name) for piece in _pieces(form))

    def in_text(self, text: str) -> set[str]:
        """Return the kinds of secrets that a text shows."""
        return {self._pieces[piece] for piece in self._pieces.keys() & _pieces(text)}

    def check(self, texts: Iterable[str], of: str) -> None:
        """Fail, without showing them, if one of the texts shows a secret."""
        for text in texts:
            allowed = {"a value"} if text.startswith(HANDED_OVER) else set()
            assert not (shown := self.in_text(text) - allowed), f"{of} shows {shown}: {text[:200]}"


def _pieces(text: str) -> set[str]:
    return {text[at : at + PIECE] for at in range(len(text) - PIECE + 1)}


def _forms(secret: str | bytes) -> Iterator[str]:
    raw = secret.encode() if isinstance(secret, str) else secret
    yield raw.hex()
    yield base64.b64encode(raw).decode()
    yield base64.urlsafe_b64encode(raw).decode()
    if isinstance(secret, str):
        yield secret
    else:
        yield repr(raw)[2:-1]
        yield json.dumps(repr(raw)[2:-1])[1:-1]
