"""The ticket, its fingerprint and the public id."""

from __future__ import annotations

import base64
import itertools
import secrets
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_cloakroom.core.entries.tickets import (
    MAX_TICKET_BYTES,
    MIN_TICKET_BYTES,
    Tickets,
    mask_successor,
    public_id,
    sealing_key,
    unmask_successor,
)

LENGTHS = range(MIN_TICKET_BYTES, MAX_TICKET_BYTES + 1)
URL_SAFE = string.ascii_letters + string.digits + "-_"

#: Frozen. If one of these changes, every stored session of every site is lost: that takes a new format, and a note.
TICKET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ"
SUCCESSOR = "QPONMLKJIHGFEDCBAzyxwvutsrqponmlkjihgfedcba"
FINGERPRINT = "5903ed027b49b7361db93cde831be894d50c1cc076312eb874a8181f9a4f448b"
FINGERPRINT_NO_NAMESPACE = "016c277180c7afbec46da7f25872e5dc6977d24ce94e0a45c8bda0552af3769e"
SEALING_KEY = "9f1f048a8bc7479a6f836553a1550da80ce233049581c698ae2691e3cb59220b"
MASKED = "4a6690467badf391017f711e19713d20d6db0f61805a63274b0a64241e994b70742b91685bd8c85a9645a1"
PUBLIC_ID = "8188d0c49160913c"


class TestIssued:
    """What ``issue`` makes."""

    @pytest.mark.parametrize("length", LENGTHS)
    def test_holds_as_many_random_bytes_as_asked_for(self, length: int) -> None:
        """Nothing but URL-safe characters, which decode to exactly ``length`` bytes; and it is plausible."""
        tickets = Tickets("app", length)
        ticket = tickets.issue()
        assert len(base64.urlsafe_b64decode(ticket + "=" * (-len(ticket) % 4))) == length
        assert set(ticket) <= set(URL_SAFE)
        assert tickets.is_plausible(ticket)

    def test_no_two_are_alike(self) -> None:
        """100,000 tickets of the shortest length allowed; and of the default."""
        for tickets in (Tickets("app"), Tickets("app", MIN_TICKET_BYTES)):
            assert len({tickets.issue() for _ in range(100_000)}) == 100_000

    def test_every_bit_varies(self) -> None:
        """Each of the 256 bits is 1 in about half of 2,000 tickets (within eight standard deviations)."""
        tickets = Tickets("app")
        issued = [base64.urlsafe_b64decode(tickets.issue() + "=") for _ in range(2000)]
        numbers = [int.from_bytes(ticket, "big") for ticket in issued]
        for bit in range(256):
            assert abs(sum(number >> bit & 1 for number in numbers) - 1000) < 180

    @pytest.mark.parametrize("length", [0, 1, MIN_TICKET_BYTES - 1, MAX_TICKET_BYTES + 1, 10**6, -5])
    def test_lengths_out_of_bounds(self, length: int) -> None:
        """Fewer than 128 bits can be guessed, more than 512 are of no use."""
        with pytest.raises(ValueError, match="from 16 to 64"):
            Tickets("app", length)


class TestPlausible:
    """What is refused without asking the store."""

    @pytest.mark.parametrize("length", LENGTHS)
    def test_only_one_length(self, length: int) -> None:
        """The text of one length of ticket, and no other."""
        tickets = Tickets("app", length)
        taken = [size for size in range(120) if tickets.is_plausible("A" * size)]
        assert taken == [len(tickets.issue())]

    def test_only_url_safe_characters(self) -> None:
        """Of all of Unicode, at the beginning, in the middle and at the end."""
        tickets = Tickets("app", MIN_TICKET_BYTES)
        ticket = tickets.issue()
        for number in itertools.chain(
            range(0x3000), range(0xD7F0, 0xE010), range(0xFF00, 0x10000), [0x1D7CE, 0x10FFFF]
        ):
            character = chr(number)
            for text in (character + ticket[1:], ticket[:9] + character + ticket[10:], ticket[:-1] + character):
                assert tickets.is_plausible(text) == (character in URL_SAFE)

    @given(st.text(st.characters(), max_size=100))
    def test_any_text(self, text: str) -> None:
        """Never an error, and only text of URL-safe characters is taken."""
        if Tickets("app").is_plausible(text):
            assert len(text) == 43
            assert set(text) <= set(URL_SAFE)

    @given(st.binary(max_size=100))
    def test_any_bytes_as_a_server_decodes_them(self, data: bytes) -> None:
        """WSGI hands over Latin-1."""
        Tickets("app").is_plausible(data.decode("latin-1"))

    @pytest.mark.parametrize("addition", ["\n", " ", "\0", "=", "\r\n", "\u2028"])
    def test_nothing_before_or_after(self, addition: str) -> None:
        """A regular expression's ``$`` would take a newline at the end."""
        tickets = Tickets("app")
        ticket = tickets.issue()
        assert not tickets.is_plausible(ticket + addition)
        assert not tickets.is_plausible(addition + ticket)
        assert not tickets.is_plausible(ticket[:-1] + addition)


class TestFingerprint:
    """The store's key."""

    def test_frozen(self) -> None:
        """The same ticket leads to the same key in every version of this package."""
        assert Tickets("shop").fingerprint(TICKET).hex() == FINGERPRINT
        assert Tickets("").fingerprint(TICKET).hex() == FINGERPRINT_NO_NAMESPACE

    @given(st.text(max_size=20).filter(lambda name: "\0" not in name), st.text(max_size=20))
    def test_differs_between_namespaces(self, one: str, rest: str) -> None:
        """Two applications on one store don't take each other's tickets, also where names and tickets could be read as
        one text."""
        other = one + rest.replace("\0", "")
        if one != other:
            ticket = Tickets(one).issue()
            assert Tickets(one).fingerprint(ticket) != Tickets(other).fingerprint(ticket)
            assert Tickets(one).fingerprint(other[len(one) :] + ticket) != Tickets(other).fingerprint(ticket)

    def test_differs_between_tickets(self) -> None:
        """Also where they differ in one character only."""
        tickets = Tickets("app")
        keys = {tickets.fingerprint(TICKET[:at] + "_" + TICKET[at + 1 :]) for at in range(len(TICKET))}
        assert len(keys) == len(TICKET)
        assert {len(key) for key in keys} == {32}

    def test_does_not_depend_on_the_length_setting(self) -> None:
        """It is the ticket's text that counts."""
        assert Tickets("app", 16).fingerprint(TICKET) == Tickets("app", 64).fingerprint(TICKET)

    def test_a_nul_in_the_namespace(self) -> None:
        """Would let two namespaces and tickets be read as one pair."""
        with pytest.raises(ValueError, match="NUL"):
            Tickets("a\0b")

    def test_nothing_of_the_ticket_in_what_is_derived(self) -> None:
        """Neither as text nor as the random bytes behind it."""
        tickets = Tickets("app")
        ticket = tickets.issue()
        raw = base64.urlsafe_b64decode(ticket + "=")
        key = tickets.fingerprint(ticket)
        for derived in (key, sealing_key(ticket), public_id(key).encode(), mask_successor(ticket, tickets.issue())):
            assert ticket.encode()[:6] not in derived
            assert raw[:4] not in derived

    def test_the_derived_values_are_independent(self) -> None:
        """What lies in the store (the key) and in logs (the public id) says nothing of what seals the payload."""
        tickets = Tickets("app")
        key = tickets.fingerprint(TICKET)
        assert len({key, sealing_key(TICKET), bytes.fromhex(public_id(key))}) == 3
        assert not key.hex().startswith(public_id(key))

    def test_the_public_id(self) -> None:
        """Sixteen hexadecimal digits, the same each time."""
        assert public_id(bytes(32)) == PUBLIC_ID
        assert len({public_id(secrets.token_bytes(32)) for _ in range(1000)}) == 1000


class TestSuccessor:
    """How a renewed ticket leads to the next one."""

    def test_frozen(self) -> None:
        """The mask is the same in every version: a renewal may be read by another version's worker."""
        assert mask_successor(TICKET, SUCCESSOR).hex() == MASKED
        assert sealing_key(TICKET).hex() == SEALING_KEY

    @pytest.mark.parametrize("length", LENGTHS)
    def test_who_holds_the_old_ticket_finds_the_new_one(self, length: int) -> None:
        """For every length of ticket."""
        tickets = Tickets("app", length)
        old, new = tickets.issue(), tickets.issue()
        masked = mask_successor(old, new)
        assert len(masked) == len(new)
        assert unmask_successor(old, masked) == new

    @pytest.mark.parametrize(("old_length", "new_length"), [(16, 64), (64, 16), (32, 48)])
    def test_after_the_length_was_changed(self, old_length: int, new_length: int) -> None:
        """A ticket of one length may be followed by one of another."""
        old, new = Tickets("app", old_length).issue(), Tickets("app", new_length).issue()
        assert unmask_successor(old, mask_successor(old, new)) == new

    def test_who_does_not_hold_it_does_not(self) -> None:
        """Another ticket makes noise of it: some text, no error, and not the successor."""
        tickets = Tickets("app")
        masked = mask_successor(TICKET, SUCCESSOR)
        for _ in range(100):
            assert unmask_successor(tickets.issue(), masked) != SUCCESSOR

    @given(st.binary(max_size=100))
    def test_any_bytes(self, masked: bytes) -> None:
        """A damaged successor gives noise, and no error."""
        assert len(unmask_successor(TICKET, masked)) == len(masked)
