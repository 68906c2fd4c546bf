"""A clock that is set back makes no used ticket good again, and logs out no user without need."""

from __future__ import annotations

from typing import Any

import pytest

from flask_cloakroom.core.clock import CLOCK_SKEW, is_running, is_within
from flask_cloakroom.core.entries.family import TOKEN_OVERLAP, TokenStatus
from flask_cloakroom.core.entries.lifetimes import Lifetimes
from flask_cloakroom.core.entries.record import Absence, Record
from flask_cloakroom.core.entries.tickets import Tickets
from flask_cloakroom.core.entries.tombstone import TOMBSTONE_SECONDS
from flask_cloakroom.core.sessions.lease import LONGEST_LEASE
from flask_cloakroom.core.sessions.repository import Repository
from flask_cloakroom.core.user_data.visitor import VISITOR_ID_KEY, VISITOR_PREFIX, VisitorData
from flask_cloakroom.core.values import codec
from flask_cloakroom.core.values.flashes import LEASE_MS, with_expired_leases_back
from flask_cloakroom.core.values.own_keys import FLASH_LEASES, FLASHES
from flask_cloakroom.csrf.errors import CSRFError
from flask_cloakroom.csrf.token_format import check_token, make_token
from flask_cloakroom.errors import LockTimeoutError
from flask_cloakroom.stores.memory import MemoryStore

HOUR = 3600
BACK = (-HOUR, -CLOCK_SKEW - 1)


class Shop:
    """A repository whose clock a test sets. The store has one of its own, and forgets to expire."""

    def __init__(self, **lifetimes: Any) -> None:
        self.now = 1_800_000_000
        self.store = MemoryStore(clock=lambda: 0)
        self.repository = Repository(
            self.store, Tickets("shop"), lifetimes=Lifetimes(**lifetimes), clock=lambda: self.now
        )
        self.name = self.repository.tickets.owner_name("ada")

    def begin(self, **values: Any) -> Record:
        return self.repository.create({key: codec.pack(value) for key, value in values.items()})

    def due(self, record: Record) -> tuple[bool, bool]:
        """Return whether a refresh and a renewal of a session are due."""
        return self.repository.lifetimes.due(record.header, self.now)

    def again(self, record: Record) -> Record:
        found = self.repository.load(record.ticket)
        assert isinstance(found, Record)
        return found


@pytest.fixture
def shop() -> Shop:
    return Shop(renew_every=1000)


@pytest.mark.parametrize(
    ("age", "within"),
    [(-CLOCK_SKEW - 1, False), (-CLOCK_SKEW, True), (-1, True), (0, True), (30, True), (31, False), (2**70, False)],
)
def test_ages(age: int, within: bool) -> None:
    """An age further in the future than clocks differ counts as too old."""
    assert is_within(age, 30) is within


@pytest.mark.parametrize(
    ("left", "running"),
    [(-1, False), (0, False), (1, True), (30_000, True), (90_000, True), (90_001, False), (2**64, False)],
)
def test_leases(left: int, running: bool) -> None:
    """A lease that ends later than the longest lease could counts as over."""
    assert is_running(1_000_000 + left, 1_000_000, 30) is running


@pytest.mark.promise(4)
class TestTombstones:
    """Tombstones of sessions that ended, rotated or were renewed."""

    @pytest.mark.parametrize("passed", BACK)
    def test_a_renewed_ticket(self, shop: Shop, passed: int) -> None:
        """A renewed ticket leads to its successor during the overlap only, whatever the clock says later."""
        record = shop.begin(n=1)
        renewed = shop.repository.rotate(record, {}, renewal=True)
        assert renewed is not None
        shop.now += passed
        assert shop.repository.load(record.ticket) is Absence.REUSED
        shop.now += -passed - CLOCK_SKEW
        assert shop.again(record).ticket == renewed.record.ticket

    @pytest.mark.parametrize("passed", [*BACK, TOMBSTONE_SECONDS + CLOCK_SKEW + 1])
    def test_an_ended_session(self, shop: Shop, passed: int) -> None:
        """An ended session stays ended. Its tombstone does not block a new session while the clock is wrong."""
        record = shop.begin(n=1)
        shop.repository.destroy(record)
        assert shop.repository.load(record.ticket) is Absence.SUPERSEDED
        shop.now += passed
        assert shop.repository.load(record.ticket) is Absence.UNKNOWN

    @pytest.mark.parametrize("passed", BACK)
    def test_a_login(self, shop: Shop, passed: int) -> None:
        """A tombstone with visitor data blocks no login, and keeps the data for the same user's login."""
        record = shop.begin(**{VISITOR_ID_KEY: "v", f"{VISITOR_PREFIX}cart": 1})
        assert shop.repository.rotate(record, {"_user_id": codec.pack("ada")}) is not None
        shop.now += passed
        assert shop.repository.load(record.ticket) is Absence.CARRIES
        assert shop.repository.carried_by(record.ticket) is not None


@pytest.mark.promise(4)
class TestRememberTokens:
    """Stored remember tokens. Signed ones are tested in tests/login/remember."""

    @pytest.mark.parametrize("passed", BACK)
    def test_a_used_one(self, shop: Shop, passed: int) -> None:
        """A used token does not become good again, and its reuse ends the token family."""
        families = shop.repository.families
        token = families.issue("ada", "", 10 * HOUR)
        shop.now += 2 * HOUR
        found = families.find(token)
        assert found is not None
        used = families.use(found[0], token, "")
        assert used is not None
        assert used.unshown is not None
        families.mark_shown(used.unshown)
        for seconds, status in [
            (0, TokenStatus.PREVIOUS),
            (-CLOCK_SKEW, TokenStatus.PREVIOUS),
            (passed, TokenStatus.OLD),
            (TOKEN_OVERLAP + 1, TokenStatus.LATE),
        ]:
            shop.now += seconds
            found = families.find(token)
            assert found is not None
            assert found[1] is status
            assert (families.use(found[0], token, "") is not None) is (status is TokenStatus.PREVIOUS)
            shop.now -= seconds

    @pytest.mark.parametrize("passed", BACK)
    def test_one_that_is_not_issued_yet(self, shop: Shop, passed: int) -> None:
        """A token that was issued in the future is refused, because its true age is unknown."""
        token = shop.repository.families.issue("ada", "", HOUR)
        shop.now -= CLOCK_SKEW
        assert shop.repository.families.find(token) is not None
        shop.now += CLOCK_SKEW + passed
        assert shop.repository.families.find(token) is None

    @pytest.mark.parametrize("passed", BACK)
    def test_a_foreign_one(self, shop: Shop, passed: int) -> None:
        """No request waits for a token that was used in the future: no other request is about to begin its family."""
        families = shop.repository.families
        token = families.refuse("foreign")
        assert families._was_just_used(token)
        shop.now += passed
        assert not families._was_just_used(token)
        assert families.find(families.exchange("foreign", "ada", HOUR)) is None


@pytest.mark.promise(4)
class TestSessions:
    """Sessions survive a clock that is set back, and their times are corrected."""

    @pytest.mark.parametrize("passed", BACK)
    def test_the_last_activity(self, shop: Shop, passed: int) -> None:
        """No user is logged out. The next use writes the present time, so the session lives no longer for it."""
        record = shop.begin(n=1)
        shop.now += passed
        found = shop.again(record)
        assert shop.due(found)[0]
        committed = shop.repository.commit(found, {}, seen=True)
        assert committed is not None
        assert committed.record.header.seen == shop.now
        assert not shop.due(committed.record)[0]

    def test_clocks_that_differ_a_little(self, shop: Shop) -> None:
        """Two servers whose clocks differ a little do not overwrite each other: the later time stays."""
        record = shop.begin(n=1)
        shop.now -= CLOCK_SKEW
        assert shop.due(record) == (False, False)
        committed = shop.repository.commit(record, {}, seen=True)
        assert committed is not None
        assert committed.record.header.seen == shop.now + CLOCK_SKEW

    @pytest.mark.parametrize("passed", BACK)
    def test_renewals(self, shop: Shop, passed: int) -> None:
        """A ticket that was issued in the future is renewed at once, not when the clock has reached that time."""
        record = shop.begin(n=1)
        shop.now += passed
        assert shop.due(record)[1]

    @pytest.mark.parametrize("passed", BACK)
    def test_the_absolute_lifetime(self, passed: int) -> None:
        """The absolute lifetime ends a session that began in the future, because its true age is unknown."""
        shop = Shop(absolute=10 * HOUR)
        record = shop.begin(n=1)
        shop.now -= CLOCK_SKEW
        assert shop.again(record).key == record.key
        shop.now += CLOCK_SKEW + passed
        assert shop.repository.load(record.ticket) is Absence.UNKNOWN

    @pytest.mark.parametrize("passed", BACK)
    def test_ending_everybodys(self, shop: Shop, passed: int) -> None:
        """Ending all sessions also ends those that began in the future."""
        record = shop.begin(_user_id="ada")
        shop.now += passed
        assert shop.repository.owners.end_everybody() == 1
        assert not isinstance(shop.repository.load(record.ticket), Record)


class TestLeases:
    """Leases of the session's lock, and of flash messages that a response shows."""

    def test_a_lock(self, shop: Shop) -> None:
        """The lock of a process that died is taken over as soon as its lease cannot be true."""
        record = shop.begin(n=1)
        assert shop.repository.lock(record, {}, timeout=0, lease=LONGEST_LEASE) is not None
        with pytest.raises(LockTimeoutError):
            shop.repository.lock(shop.again(record), {}, timeout=0, lease=1)
        shop.now -= CLOCK_SKEW + 1
        assert shop.repository.lock(shop.again(record), {}, timeout=0, lease=1) is not None

    def test_flash_messages(self, shop: Shop) -> None:
        """Flash messages come back if the response that took them was never sent."""
        until = shop.repository.now_ms() + LEASE_MS
        values = shop.begin(**{FLASH_LEASES: {"a": (until, [("message", "Hello")])}}).values
        assert with_expired_leases_back(values, shop.repository.now_ms()) == {}
        shop.now -= CLOCK_SKEW + 1
        changes = with_expired_leases_back(values, shop.repository.now_ms())
        assert changes == {FLASHES: codec.pack([("message", "Hello")]), FLASH_LEASES: None}


class TestUserData:
    """User data is never lost by a clock."""

    def test_stays(self, shop: Shop) -> None:
        """The next use writes the present time, so the data lives no longer. A future merge cannot be undone."""
        data = shop.repository.user_data
        assert data.merge(shop.name, VisitorData("v", {"cart": codec.pack(1)})) is not None
        assert data.undoable(data.load(shop.name)) is not None
        shop.now -= 10 * HOUR
        held = data.load(shop.name)
        assert codec.unpack(held.values["cart"]) == 1
        assert data.is_due(held)
        assert data.undoable(held) is None
        assert data._seconds_to_store(held) <= data.settings.lifetime + HOUR


def test_forms_tokens() -> None:
    """A CSRF token with a time limit that was issued in the future has expired. A small difference is accepted."""
    token, now = make_token(b"secret", 1_000_000), 1_000_000
    check_token(token, b"secret", now - CLOCK_SKEW, 60)
    check_token(token, b"secret", now - HOUR, None)
    for wrong in (now - CLOCK_SKEW - 1, now - HOUR, now + 61):
        with pytest.raises(CSRFError, match="expired"):
            check_token(token, b"secret", wrong, 60)
