"""The errors for refused requests. Flask sends such an error as the response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from flask import has_request_context, request
from markupsafe import escape
from werkzeug.exceptions import BadRequest, Forbidden

from ..errors import CloakroomError
from ..redirects import safe_path

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

#: The characters that need no escape in a path (RFC 3986, 3.3). "%" is not one, because Flask has decoded the path.
_PATH_SAFE: Final = "/:@!$&'()*+,;=~-._"


class CSRFError(BadRequest, CloakroomError):
    """The answer to a refused request, with the status 400. An error handler for this class can give it a page.

    ``description`` says why the request was refused. The description contains no text of the request.
    """

    description = "The request could not be checked for forgery."

    @property
    def return_path(self) -> str:
        """The path of the refused request if it answers GET, otherwise the path of the application's first page.

        The path belongs to this site and has no query. Use it for a link on the error page.
        """
        if not has_request_context():
            return "/"
        rule = request.url_rule
        has_get = rule is not None and (rule.methods is None or "GET" in rule.methods)
        paths = (request.path, "/") if has_get else ("/",)
        quoted = (quote(request.script_root + path, safe=_PATH_SAFE, errors="replace") for path in paths)
        # A browser reads a path such as "//evil.example" or "/%5Cevil.example" as the URL of another site.
        return next(filter(None, (safe_path(path, "") for path in quoted)), "/")

    def get_body(self, environ: WSGIEnvironment | None = None, scope: dict[str, Any] | None = None) -> str:
        """Return the default error page: the reason, and a link to :attr:`return_path`."""
        link = f'<p><a href="{escape(self.return_path)}">Open the page again</a> and repeat your change.</p>\n'
        return super().get_body(environ, scope) + link


class SeaSurfError(CSRFError, Forbidden):
    """A CSRFError with the status 403 of Flask-SeaSurf. Error handlers for 403, Forbidden and CSRFError are called."""

    code = 403
    description = CSRFError.description


class HandledSeaSurfError(SeaSurfError):
    """A SeaSurfError for applications that have an error handler for CSRFError.

    Flask looks for an error handler by the status code of the error's class first. If the class had the code 403, Flask
    would not find the handler of CSRFError, whose code is 400. So this class has the code 400, and each object has 403.
    """

    code = CSRFError.code

    def __init__(self, description: str | None = None) -> None:
        super().__init__(description)
        self.code = SeaSurfError.code
