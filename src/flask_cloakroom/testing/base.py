"""The fixture, the settings and the helpers that all parts of the contract share."""

from __future__ import annotations

import os
import time
from typing import ClassVar

import pytest

from ..stores.base import Store


class ContractBase:
    """The base class of each part of the contract."""

    #: Seconds that an entry may outlive its ``ttl``, because the store's clock is coarse.
    expiry_slack: ClassVar[float] = 0.1

    @pytest.fixture
    def store(self) -> Store:
        """Return the store to test. A subclass must override this fixture."""
        raise NotImplementedError("This test class has no store. Give it a pytest fixture named store.")

    def elapse(self, seconds: float) -> None:
        """Let so many seconds pass for the store. Override this if the store takes a clock that a test can move."""
        time.sleep(seconds)

    def let_expire(self, ttl: int) -> None:
        """Wait until an entry that was written just now with ``ttl`` seconds has expired."""
        self.elapse(ttl + self.expiry_slack)


def new_key() -> bytes:
    """Return a random key."""
    return os.urandom(32)
