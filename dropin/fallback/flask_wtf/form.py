"""Not here: see :mod:`._missing`."""

from ._missing import MESSAGE

raise ImportError(f"{__name__} {MESSAGE}", name=__name__)
