"""Not part of the CSRF protection: raises the error in :mod:`._missing`."""

from ._missing import MESSAGE

raise ImportError(f"{__name__} {MESSAGE}", name=__name__)
