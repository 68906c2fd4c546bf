"""The whole contract in one class."""

from __future__ import annotations

from .owners import OwnersContract
from .ownership import OwnershipContract
from .parallel import ParallelContract
from .powers import PowersContract
from .races import RaceContract
from .rotations import RotationContract
from .verbs import VerbContract


class StoreContract(
    VerbContract,
    PowersContract,
    OwnersContract,
    ParallelContract,
    RaceContract,
    RotationContract,
    OwnershipContract,
):
    """All conformance tests. Inherit this class and add a fixture ``store``. See :mod:`flask_cloakroom.testing`."""
