"""What a refused request gets."""

from __future__ import annotations

from werkzeug.exceptions import BadRequest, Forbidden

from ..errors import CloakroomError


class CSRFError(BadRequest, CloakroomError):
    """A request was refused, with a 400; an error handler for this class can give it a page.

    ``description`` says why. It holds nothing that the request said.
    """

    description = "The request could not be checked for forgery."


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
