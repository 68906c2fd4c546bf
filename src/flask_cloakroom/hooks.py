"""Keys of ``app.extensions`` under which one part leaves a function for another part that it does not import."""

from __future__ import annotations

from typing import Final

#: A function of the logins, ``(resume: bool) -> list[Secret]``. It returns one text for each login of the request's
#: browser, for all user kinds. The text changes when that login begins, is confirmed or changes its user. CSRF tokens
#: are made with these texts. ``resume``: log remembered users in first, as the view would do later.
LOGIN_SECRETS: Final = "flask_cloakroom.login secrets"

#: A function of the logins, ``() -> bool``. It tells whether a header shows the request's user. No other site can make
#: a browser send such a header, so nobody can have forged the request.
HAS_HEADER_LOGIN: Final = "flask_cloakroom.has header login"
