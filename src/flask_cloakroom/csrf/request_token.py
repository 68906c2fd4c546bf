"""The token that a request brings: in a header, in a field of its form, or in its JSON. Never in its URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..secret import Secret
from .settings import CSRFSettings

if TYPE_CHECKING:
    from flask import Request


def token_in(request: Request, settings: CSRFSettings) -> Secret | None:
    """Return the first that is there and not empty; None if there is none.

    Headers come first, because the body need not be read for them. A field counts by its whole name. Raises werkzeug's
    HTTPException for a body that is too large or breaks off.
    """
    for name in settings.headers:
        if token := request.environ.get(name):
            return Secret(token)
    if token := request.form.get(settings.field):
        return Secret(token)
    if not request.is_json:
        return None
    try:
        body = request.get_json(silent=True)
    except RecursionError:  # brackets in brackets, thousands of them
        return None
    token = body.get(settings.field) if isinstance(body, dict) else None
    return Secret(token) if isinstance(token, str) and token else None
