"""What the chapters of the contract share."""

from __future__ import annotations

import os
import time
from typing import ClassVar

import pytest

from ..stores.base import Store


class ContractBase:
    """One fixture to give, and two things that can be told about a store."""

    #: Seconds that an entry may live on after its ttl, because the store's clock is that coarse.
    expiry_slack: ClassVar[float] = 0.1

    @pytest.fixture
    def store(self) -> Store:
        """Return the store to test. Whoever inherits the contract gives this fixture."""
        raise NotImplementedError("a class that inherits StoreContract gives it a fixture named store")

    def elapse(self, seconds: float) -> None:
        """Let time pass for the store. Override this where the store takes a clock that a test can move."""
        time.sleep(seconds)

    def let_expire(self, ttl: int) -> None:
        """Return when what was given ``ttl`` seconds just now has expired."""
        self.elapse(ttl + self.expiry_slack)


def new_key() -> bytes:
    """Return a key that nobody has used."""
    return os.urandom(32)
