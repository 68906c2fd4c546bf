"""What several tests use: servers, sites, clocks and processes. Fixtures are in the ``conftest.py`` files."""

from __future__ import annotations

from pathlib import Path

#: The checkout.
ROOT = Path(__file__).parents[2]
#: The packages of the drop-in, under the names of the extensions that it replaces.
DROPIN = ROOT / "dropin" / "src"
