"""The fixture, the settings and the helpers that all test classes of the contract share."""

from __future__ import annotations

import os
import time
from typing import ClassVar

import pytest

from ..stores.base import Store


class ContractBase:
    """The base class of all test classes of the contract."""

    #: The longest time in seconds for which an entry may still exist after its ``ttl``.
    expiry_slack: ClassVar[float] = 0.1

    @pytest.fixture
    def store(self) -> Store:
        """Return the store to test. A subclass must override this fixture."""
        raise NotImplementedError("This test class has no store. Give it a pytest fixture named store.")

    def elapse(self, seconds: float) -> None:
        """Let ``seconds`` pass for the store. Override this method if a test can set the store's clock."""
        time.sleep(seconds)

    def let_expire(self, ttl: int) -> None:
        """Wait until an entry that was written right before this call with ``ttl`` seconds has expired."""
        self.elapse(ttl + self.expiry_slack)


def new_key() -> bytes:
    """Return a random store key of 32 bytes."""
    return os.urandom(32)
