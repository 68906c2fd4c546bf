"""Where parts that do not know each other leave functions for each other: keys of ``app.extensions``."""

from __future__ import annotations

from typing import Final

#: Logins leave here a function ``(resume: bool) -> list[Secret]``. It returns one text for each login that the
#: request's browser has, of whichever kind of user. The text changes whenever that login begins, is confirmed or
#: changes its user. CSRF tokens are made with these texts. ``resume``: first begin remembered logins, as the view
#: would do later.
LOGIN_SECRETS: Final = "flask_cloakroom.login secrets"

#: Logins leave here what tells whether the request's user is shown by a header that no other site can make a browser
#: send. Such a request is nobody's forgery.
SHOWN_BY_HEADER: Final = "flask_cloakroom.shown by header"
