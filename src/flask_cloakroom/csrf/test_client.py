"""A test client whose requests pass the protection."""

from __future__ import annotations

from typing import Any

from flask.testing import FlaskClient


class CSRFClient(FlaskClient):
    """A test client that sends ``Sec-Fetch-Site: same-origin``, as browsers do for requests of the site's own pages.

    Set it as ``app.test_client_class``. To test a refused request, send another value of the header:
    ``client.post("/", headers={"Sec-Fetch-Site": "cross-site"})``. The class can be combined with another client:
    ``class Client(CSRFClient, FlaskLoginClient)``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take the arguments of Flask's test client, and those of a client class that is combined with this class."""
        super().__init__(*args, **kwargs)
        self.environ_base["HTTP_SEC_FETCH_SITE"] = "same-origin"
