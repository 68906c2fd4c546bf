"""Find the CSRF token of a request: in a header, in a form field or in a JSON body, but not in the URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..secret import Secret
from .settings import CSRFSettings

if TYPE_CHECKING:
    from flask import Request


def token_in(request: Request, settings: CSRFSettings) -> Secret | None:
    """Return the first token in the request that is not empty, or None if the request has no token.

    The headers are read first, so the body of a request with a token in a header is not read. A form field must have
    exactly the configured name. Raises werkzeug's HTTPException for a body that is too large or incomplete.
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
    except RecursionError:  # the body has thousands of nested brackets
        return None
    token = body.get(settings.field) if isinstance(body, dict) else None
    return Secret(token) if isinstance(token, str) and token else None
