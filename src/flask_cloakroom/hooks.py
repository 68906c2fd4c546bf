"""Keys of ``app.extensions``. Under each key one part stores a function for another part, which does not import it."""

from __future__ import annotations

from typing import Final

#: The key of a function ``(resume: bool) -> list[Secret]`` of the package ``login``. It returns a text for each login
#: of the request's browser, for all user kinds. The text changes when the login begins, is confirmed or gets another
#: user. The CSRF protection makes its tokens with these texts. With ``resume`` the function first logs in the users of
#: remember cookies, as the view would do later.
LOGIN_SECRETS: Final = "flask_cloakroom.login secrets"

#: The key of a function ``() -> bool`` of the package ``login``. It returns True if a header such as ``Authorization``
#: identifies the request's user. No other site can make a browser send such a header, so the request is not forged.
HAS_HEADER_LOGIN: Final = "flask_cloakroom.has header login"
