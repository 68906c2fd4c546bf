"""Where parts that do not know each other leave functions for each other: keys of ``app.extensions``."""

from __future__ import annotations

from typing import Final

#: Logins leave here what finds the request's user. It is called before a token is made for a visitor whom nobody has
#: logged in yet: a remembered login that is found later in the same page would make the token void.
FIND_LOGIN: Final = "flask_cloakroom.find login"

#: Logins leave here what tells whether the request's user is shown by a header that no other site can make a browser
#: send. Such a request is nobody's forgery.
SHOWN_BY_HEADER: Final = "flask_cloakroom.shown by header"
