"""Flask-WTF's import name, for the CSRF protection of Flask-Cloakroom, if Flask-WTF is not installed.

The folder of this package comes after ``site-packages`` in ``sys.path``, so an installed Flask-WTF is found first. An
editable install, or the system's packages under a virtual environment, may come even later. This module then loads the
installed Flask-WTF in its own place.
"""

import sys
from importlib.util import module_from_spec
from typing import Any

from ._original import find_original

_original = find_original()
if _original is not None and _original.loader is not None:
    sys.modules[__name__] = _module = module_from_spec(_original)
    for _name in [name for name in sys.modules if name.startswith(f"{__name__}.")]:
        del sys.modules[_name]
    _original.loader.exec_module(_module)
else:
    from .csrf import CSRFProtect

#: The version of Flask-WTF that has these names.
__version__ = "1.3.0"

__all__ = ["CSRFProtect"]


def __getattr__(name: str) -> Any:
    if name in ("FlaskForm", "Form", "Recaptcha", "RecaptchaField", "RecaptchaWidget"):
        from ._missing import MESSAGE

        raise ImportError(f"{name} {MESSAGE}", name=__name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
