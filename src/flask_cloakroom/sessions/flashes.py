"""Show each flash message once, and show it again if its response fails.

Flask keeps flash messages in the session, and removes those that a page shows. If the removal were saved only at the
end of the request, a page that is made at the same time would show the same messages. So this request leases the
messages in the store as soon as the page reads them, and no other request sees leased messages. The end of the request
deletes the lease and the messages. After an exception the messages are put back into the session. If the process dies,
the session's next request after the end of the lease puts them back.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from flask import has_request_context

from ..context import clear_flash_cache, peek_at_session
from ..core.entries.record import Committed
from ..core.values.flashes import ShownFlashes, lease_all, merge_waiting, messages_in, with_leases_back
from ..core.values.merge import remaining_and_added
from ..core.values.own_keys import FLASH_LEASES, FLASHES
from ..core.values.rebase import Changes, Values
from ..errors import SessionTooLargeError, StoreError
from .outage import SessionUnavailable
from .work import SessionWork

log = logging.getLogger("flask_cloakroom.sessions")

_KEYS: Final = (FLASHES, FLASH_LEASES)


def take(work: SessionWork) -> Any:
    """Return the flash messages and remove them from the stored session, so that no other response shows them.

    The session must have the key of flash messages. Raises SessionUnavailable.
    """
    messages = work[FLASHES]
    if type(messages) is not list:
        del work[FLASHES]  # the application set this key itself
        return messages
    if FLASHES not in work.stored_values or work.record is None:
        # Only this request has these messages, so they need no lease.
        del work[FLASHES]
        _remember(work, None, messages)
        return messages
    read = work.stored_values[FLASHES]
    before = messages_in(work.stored_values)
    waiting, own = remaining_and_added(before, messages)
    # A streamed body is made after the session was saved. No later save of this request could end a lease.
    lease = None if work.closed else secrets.token_hex(8)
    stored: list[Any] = []

    def edit(values: Values) -> Changes:
        nonlocal stored
        # Nearly always no other request has written, so there is nothing to merge.
        stored = waiting if values.get(FLASHES) == read else merge_waiting(before, waiting, values)
        return lease_all(values, lease, stored, work.repository.now_ms())

    with work.outage():
        try:
            committed = _edit(work, edit)
        except SessionTooLargeError:
            # The session has no room for a lease. Without this second try, no page could show its messages.
            lease = None
            committed = _edit(work, edit)
    if committed is None:
        # The session has ended, so no other response can show the messages.
        del work[FLASHES]
        return messages
    _remember(work, lease if stored else None, own if lease else stored + own)
    return stored + own


def _remember(work: SessionWork, lease: str | None, own: list[Any]) -> None:
    shown = work.shown_flashes = work.shown_flashes or ShownFlashes()
    shown.own = shown.own + own
    if lease is not None:
        shown.names.append(lease)


def confirm_shown(work: SessionWork) -> None:
    """End the leases of the messages that the response shows. The next save deletes these messages from the store."""
    shown, work.shown_flashes = work.shown_flashes, None
    if shown is None or not shown.names or type(leases := work.get(FLASH_LEASES)) is not dict:
        return
    others = {name: lease for name, lease in leases.items() if name not in shown.names}
    if others:
        work[FLASH_LEASES] = others
    else:
        del work[FLASH_LEASES]


def put_back(work: SessionWork) -> None:
    """Put the messages of a failed response back into the session, before the messages that were flashed later."""
    shown, work.shown_flashes = work.shown_flashes, None
    later = work.get(FLASHES, [])
    if shown is None or type(later) is not list:
        return
    before: list[Any] = []
    if shown.names and work.record is not None:
        _, later = remaining_and_added(messages_in(work.stored_values), later)
        try:
            _edit(work, lambda values: with_leases_back(values, shown.names))
        except StoreError as error:
            log.warning("the store failed, so flash messages appear again only after their lease has ended: %s", error)
        before = work.get(FLASHES, [])
    if shown.own or later:
        work[FLASHES] = before + shown.own + later


def _edit(work: SessionWork, edit: Callable[[Values], Changes]) -> Committed | None:
    """Write the change of the flash messages to the store in this call. Return None if the session has ended.

    The request's other changes are saved and merged at the end of the request as usual.
    """
    record = work.record
    assert record is not None
    committed = work.repository.edit(record, edit)
    if committed is not None:
        now = committed.record
        values = {key: packed for key, packed in record.values.items() if key not in _KEYS}
        values |= {key: now.values[key] for key in _KEYS if key in now.values}
        # If another request has written too, keep the old version number: then the commit notices it and merges.
        work.reload_keys(replace(record if committed.merged else now, values=values), _KEYS)
    return committed


# -- Flask ------------------------------------------------------------------------------------------------


def put_back_on_failure(*_: Any, **__: Any) -> None:
    """Put the messages back that the failed response of this request has shown. The error page may show them."""
    found = peek_at_session() if has_request_context() else None
    if isinstance(found, SessionWork) and found.shown_flashes is not None and not found.failed:
        with suppress(SessionUnavailable):  # then the response becomes a 503, and the messages come after their lease
            put_back(found)
        clear_flash_cache()
