"""What a refused request gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from flask import Request, has_request_context, request
from markupsafe import escape
from werkzeug.exceptions import BadRequest, Forbidden

from ..errors import CloakroomError
from ..redirects import safe_path

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

#: RFC 3986, 3.3: what may stand in a path as it is. "%" is not among it, because the path of a request is decoded.
_PATH_SAFE: Final = "/:@!$&'()*+,;=~-._"


class CSRFError(BadRequest, CloakroomError):
    """A request was refused, with a 400; an error handler for this class can give it a page.

    ``description`` says why. It holds nothing that the request said.
    """

    description = "The request could not be checked for forgery."

    @property
    def return_path(self) -> str:
        """The path of the refused page, if it can be opened by a link; else that of the application's first page.

        For a link on the page of the refusal: always a path of this site, without the query of the refused request.
        """
        return _return_path(request) if has_request_context() else "/"

    def get_body(self, environ: WSGIEnvironment | None = None, scope: dict[str, Any] | None = None) -> str:
        """Return the ready-made page: the reason, and a link to :attr:`return_path`."""
        link = f'<p>To repeat what you did, <a href="{escape(self.return_path)}">go on from here</a>.</p>\n'
        return super().get_body(environ, scope) + link


def _return_path(request: Request) -> str:
    rule = request.url_rule
    opens = rule is not None and (rule.methods is None or "GET" in rule.methods)
    paths = (request.path, "/") if opens else ("/",)
    quoted = (quote(request.script_root + path, safe=_PATH_SAFE, errors="replace") for path in paths)
    # A path such as "//evil.example" or "/%5Cevil.example" is another site to a browser.
    return next(filter(None, (safe_path(path, "") for path in quoted)), "/")


class SeaSurfError(CSRFError, Forbidden):
    """The same with a 403, as Flask-SeaSurf has it. Handlers for 403, Forbidden and CSRFError give it a page."""

    code = 403
    description = CSRFError.description


class HandledSeaSurfError(SeaSurfError):
    """The same once more, where the application has a handler for CSRFError.

    Flask looks for a handler by the code of the error's class and only then by the class, so that of a class with 400
    is not found for one with 403.
    """

    code = CSRFError.code

    def __init__(self, description: str | None = None) -> None:
        super().__init__(description)
        self.code = SeaSurfError.code
