"""The conformance kit: what every store must hold, as tests that whoever writes a store inherits. Needs pytest.

A store is any object with the verbs of :class:`flask_cloakroom.stores.base.Store`; this is all that its tests need::

    import pytest
    from flask_cloakroom.testing import StoreContract

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self):
            store = MyStore(...)
            yield store
            store.close()

Each test's docstring is a sentence of the contract. The tests use random keys and leave entries of theirs behind, so
``store`` may be a new view of one room that they all share. ``purge``, ``walk`` and the owner index are tested
where the store has them. Two things can be told about a store:

- :attr:`StoreContract.expiry_slack`, if its clock is coarser than a tenth of a second;
- :meth:`StoreContract.elapse`, if it takes a clock that a test can move, so that nothing has to wait.

:class:`InterleavingStore` is the tool that the kit forces interleavings with, for tests of one's own.
"""

from __future__ import annotations

try:
    import pytest
except ImportError as error:
    raise ImportError(
        "flask_cloakroom.testing is a pytest suite, and pytest is not installed: pip install pytest"
    ) from error

# Before they are imported, so that a failing assert shows its values.
pytest.register_assert_rewrite(
    f"{__name__}.verbs",
    f"{__name__}.powers",
    f"{__name__}.owners",
    f"{__name__}.ownership",
    f"{__name__}.parallel",
    f"{__name__}.races",
    f"{__name__}.rotations",
    f"{__name__}.schedules",
)

from .contract import StoreContract  # noqa: E402
from .interleaving import InterleavingStore  # noqa: E402

__all__ = ["InterleavingStore", "StoreContract"]
