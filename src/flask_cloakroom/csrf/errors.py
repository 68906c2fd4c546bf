"""What a refused request gets."""

from __future__ import annotations

from werkzeug.exceptions import BadRequest

from ..errors import CloakroomError


class CSRFError(BadRequest, CloakroomError):
    """A request was refused, with a 400; an error handler for this class can give it a page.

    ``description`` says why. It holds nothing that the request said.
    """

    description = "The request could not be checked for forgery."
