"""Dark mode without JavaScript.

The toolkit's dark rules apply to ``data-bs-theme="dark"``, and only a script could set that by the visitor's
preference. This module serves the same rules for ``data-bs-theme="auto"``, as a style sheet that browsers use only if
the visitor prefers dark.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from flask import Blueprint, Response, current_app

blueprint = Blueprint("dark_mode", __name__)

_RULE = re.compile(r"([^{}]*\[data-bs-theme=dark\][^{}]*)\{([^{}]*)\}")
_DARK = "[data-bs-theme=dark]"
_AUTO = "[data-bs-theme=auto]"


@blueprint.get("/dark.css")
def dark_css() -> Response:
    """Return the toolkit's dark rules as a style sheet."""
    response = Response(_dark_rules(), mimetype="text/css")
    response.cache_control.public = True
    response.cache_control.max_age = current_app.config["SEND_FILE_MAX_AGE_DEFAULT"]
    return response


@cache
def _dark_rules() -> str:
    toolkit = files("flask_bootstrap") / "static" / "bootstrap5" / "css" / "bootstrap.min.css"
    rules = []
    for selectors, body in _RULE.findall(toolkit.read_text(encoding="utf-8")):
        own = [selector for selector in selectors.split(",") if selector.startswith(_DARK)]
        if own:
            rules.append(f"{','.join(own).replace(_DARK, _AUTO)}{{{body}}}")
    return "\n".join(rules)
