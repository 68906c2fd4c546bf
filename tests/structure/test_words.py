"""Names and words that were replaced do not come back: the glossary's words are the only ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Names that nobody could guess, or that meant two things, and the present ones. Each is a regular expression for code
#: and for text.
RETIRED_NAMES = {
    r"\bBegun\b|\bbegun=": "NewLogin, login=",
    r"\bNOTHING_BEGUN\b": "UNDESCRIBED",
    r"\bbury\b": "block_creation",
    r"\bAbsence\.LEFT\b|\bleft_by\b|\b(un)?pack_left\b|\bopen_left\b|\bLEFT_SECONDS\b": "CARRIES, carried_by, …",
    r"\bMARK_SECONDS\b": "TOMBSTONE_SECONDS",
    r"\bheader\.(superseded|remembers|belongs)\b": "Header.kind",
    r"\bStanding\b|\bSuccession\b|\.stands\(|def stands\b": "TokenStatus, NextToken, is_alive()",
    r"\bbegin_with\b|\.spend\(|def spend\b": "exchange, refuse",
    r"\b_sift\b|\b_make_room\b|\b_evict\b": "_live_sessions, _enforce_limit, _end_oldest",
    r"\bspare=|\bis_spared\b": "except_for=",
    r"\bBrought\b|\bbrought_in\b": "VisitorData, visitor_data_in",
    r"\bis_owed\b|\bsettle\(|def settle\b|\bconclude\b|\bclaim_left\b": "is_merge_pending, merge_before_commit, …",
    r"\bput_back_expired\b|\btake_all\b|\bstill_waiting\b": "with_expired_leases_back, lease_all, merge_waiting",
    r"\b_become\b|\b_await\b|def adopt\b": "_switch_to, _wait_for, join",
    r"\bMerger\b|\bEditor\b|\blose_to\b|\.meet\(|\.ready\(\)": "Commit, Edit, rebase_on, rebase_entry, await_turn",
    r"\bforget_others\b": "revoke_other_users_tokens",
    r"\brefuse_strangers\b|\brefuse_stale\b|\blets_pass\b": "refuse_anonymous, refuse_not_fresh, needs_no_login",
    r"\bproblem_with\b": "login_problem, impersonation_problem, key_problem",
    r"\b_is_ours\b|\blooked_at\b|\bsuspect\(": "is_trusted, vary_on, token_may_be_stale",
    r"\bgive_up_idle\b": "close_one_idle",
    r"(?<![A-Z_])PATIENCE\b": "COMMIT_PATIENCE, JOIN_PATIENCE",
    r"\bOVERLAP_SECONDS\b": "TICKET_OVERLAP, TOKEN_OVERLAP",
    r"\bcontested\b|\bClash\b": "conflicts, MergeConflict",
    r"\bTrail\b|\buser_note\b": "SessionWatch, merge_log",
}
#: Words of earlier versions for terms of the glossary, in docstrings, comments and pages.
RETIRED_WORDS = {
    r"\bbelongings\b": "user data",
    r"\bhandover\b": "merge at login",
    r"\bsuperseded mark\b|\b[Aa] mark (stays|stands|that)\b|\b[Tt]he mark (that|of a|stands|stays)\b": "tombstone",
    r"\bDo :(func|meth):": "a sentence that says what the caller gets",
}

#: What is searched: the package, its tests and pages. The changelog tells of earlier versions in their own words.
SEARCHED = [
    path
    for folder, pattern in (
        ("src", "*.py"),
        ("tests", "*.py"),
        ("benchmarks", "*.py"),
        ("dropin", "*.py"),
        ("docs", "*.md"),
        ("examples", "*.py"),
    )
    for path in sorted((ROOT / folder).rglob(pattern))
    if path != Path(__file__) and "node_modules" not in path.parts
] + [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


@pytest.mark.parametrize(("retired", "present"), {**RETIRED_NAMES, **RETIRED_WORDS}.items())
def test_no_retired_word(retired: str, present: str) -> None:
    """Each has one successor, which the code, the tests and the pages use."""
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in SEARCHED
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(retired, line)
    ]
    assert not found, f"Write {present}:\n" + "\n".join(found)


class TestGlossary:
    """docs/glossary.md defines each term once, in one sentence or two."""

    PAGE = (ROOT / "docs" / "glossary.md").read_text()

    def test_each_term_once(self) -> None:
        """A term has one meaning."""
        terms = re.findall(r"^\| \*\*(.+?)\*\*", self.PAGE, re.MULTILINE)
        assert len(terms) > 50
        assert len(terms) == len(set(terms))

    def test_each_meaning_is_a_plain_sentence(self) -> None:
        """It begins with a capital, ends with a full stop, and has at most forty words."""
        meanings = re.findall(r"^\| \*\*.+?\*\*.*?\| (.+) \|$", self.PAGE, re.MULTILINE)
        for meaning in meanings:
            assert re.fullmatch(r"[A-Z].*\.", meaning), meaning
            assert len(meaning.split()) <= 40, meaning
