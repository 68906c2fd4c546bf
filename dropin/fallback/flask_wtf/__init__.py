"""Flask-WTF's import name where Flask-WTF is not installed, with the protection of Flask-Cloakroom behind it.

The folder that holds this package stands behind ``site-packages`` in ``sys.path``, so that Flask-WTF comes first where
it is installed. Where it is in a place that comes later still (an editable install, the system's packages under a
virtual environment), this module steps aside.
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

#: The version of Flask-WTF whose names are here.
__version__ = "1.3.0"

__all__ = ["CSRFProtect"]


def __getattr__(name: str) -> Any:
    if name in ("FlaskForm", "Form", "Recaptcha", "RecaptchaField", "RecaptchaWidget"):
        from ._missing import MESSAGE

        raise ImportError(f"{name} {MESSAGE}", name=__name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
