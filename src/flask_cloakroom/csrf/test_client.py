"""A test client that says of its requests what a browser says of those of the site's own pages."""

from __future__ import annotations

from typing import Any

from flask.testing import FlaskClient


class CSRFClient(FlaskClient):
    """Set as ``app.test_client_class``: requests pass the protection as they do from a page of the site.

    A test of what is refused gives the header itself: ``client.post("/", headers={"Sec-Fetch-Site": "cross-site"})``.
    It can be mixed with another client: ``class Client(CSRFClient, FlaskLoginClient)``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take Flask's arguments, and those of the class that it is mixed with."""
        super().__init__(*args, **kwargs)
        self.environ_base["HTTP_SEC_FETCH_SITE"] = "same-origin"
