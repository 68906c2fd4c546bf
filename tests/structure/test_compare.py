"""``benchmarks/run --compare`` measures two revisions side by side."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support import ROOT

BENCHMARKS = ROOT / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="benchmarks/ is not a part of the source distribution")


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


def pairs(
    ratio: float, *, groups: int = 12, each: int = 20, noise: float = 0.05, bias: float = 0.0, seed: int = 7
) -> Any:
    """Return groups of pairs: the first is ``ratio`` times the second, with noise, and with a bias of each group."""
    dice = random.Random(seed)
    found = []
    for _ in range(groups):
        shift = dice.gauss(0, bias)
        found.append([(100 * ratio * (1 + shift + dice.gauss(0, noise)), 100.0) for _ in range(each)])
    return found


class TestStatistics:
    """What is made of the figures."""

    @pytest.mark.parametrize(("ratio", "verdict"), [(1.0, "no difference seen"), (1.05, "dearer"), (0.95, "cheaper")])
    def test_a_known_ratio(self, ratio: float, verdict: str) -> None:
        """It lies in the interval, which is narrow, and the verdict is right, also as one of forty."""
        from compare_statistics import compare

        found = compare(pairs(ratio))
        low, high = found.interval()
        assert low < ratio < high
        assert high - low < 0.03
        assert found.verdict(questions=40) == verdict

    def test_an_interval_is_as_sure_as_it_says(self) -> None:
        """Of 60 measurements of the same code in processes that differ a little, about 57 have 1 in the interval."""
        from compare_statistics import compare

        intervals = [compare(pairs(1.0, each=10, bias=0.01, seed=seed)).interval() for seed in range(60)]
        assert 54 <= sum(low < 1 < high for low, high in intervals) <= 59

    def test_both_sides_are_treated_alike(self) -> None:
        """With the sides exchanged the result is the reverse."""
        from compare_statistics import compare

        there, back = compare(pairs(1.05)), compare([[(b, a) for a, b in group] for group in pairs(1.05)])
        assert there.ratio * back.ratio == pytest.approx(1)
        assert there.interval()[1] * back.interval()[0] == pytest.approx(1)

    def test_disturbed_pairs_change_little(self) -> None:
        """A fifth of the pairs ten times too long, as when another program had the machine: the estimate stays."""
        from compare_statistics import compare

        groups = pairs(1.05)
        for group in groups:
            group[::10] = [(a * 10, b) for a, b in group[::10]]
            group[1::10] = [(a, b * 10) for a, b in group[1::10]]
        assert compare(groups).ratio == pytest.approx(1.05, abs=0.02)

    def test_processes_that_differ_make_it_less_sure(self) -> None:
        """Many pairs from a few processes that differ by themselves are no proof: the interval allows for them."""
        from compare_statistics import compare

        alike, different = (compare(pairs(1.0, groups=6, each=100, bias=bias)) for bias in (0.0, 0.03))
        assert different.standard_error > 2 * alike.standard_error
        assert different.verdict(questions=1) == "no difference seen"

    def test_more_questions_make_a_verdict_harder(self) -> None:
        """An interval that just misses 1 is a difference if it was the only question, and none among forty."""
        from compare_statistics import Difference

        barely = Difference(log_ratio=0.022, standard_error=0.01)
        assert barely.interval()[0] > 1
        assert (barely.verdict(questions=1), barely.verdict(questions=40)) == ("dearer", "no difference seen")

    @pytest.mark.parametrize("groups", [[], [[]], [[(1.0, 1.0)]]])
    def test_too_little(self, groups: Any) -> None:
        """Without two pairs nothing is claimed."""
        from compare_statistics import compare

        with pytest.raises(ValueError, match="Measure longer"):
            compare(groups)


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    """Two copies of the package."""
    found = {side: tmp_path / side / "src" for side in ("this", "that")}
    for source in found.values():
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    return found


def add(source: Path, code: str) -> None:
    with (source / "flask_cloakroom" / "__init__.py").open("a") as file:
        file.write(code)


#: For two of three requests.
MOSTLY_SLOWER = """
def generate_csrf(plain=generate_csrf, count=[0]):
    import time
    count[0] += 1
    if count[0] % 3:
        time.sleep(0.003)
    return plain()
"""
SLOWER = """
def generate_csrf(plain=generate_csrf):
    import time
    time.sleep(0.003)
    return plain()
"""


def test_a_slower_page_is_found(sources: dict[str, Path]) -> None:
    """Of two pages on two stores, the one whose code was made slower on this side is dearer, and is named so."""
    import compare

    add(sources["this"], SLOWER)
    pages, stores = ["reads", "form with token"], ["SQLite", "memory"]
    measured = compare.measure(sources, pages, stores, minutes=0.05)
    rows = compare.rows(measured, pages, stores)
    assert [(row.page, row.store) for row in rows] == [(page, store) for page in pages for store in stores]
    for row in rows[2:]:
        assert row.this - row.that > 2500
        assert row.verdict(len(rows)) == "dearer"
        assert row.may_exceed(2)
    text = compare.text(rows, "that one", measured.missing)
    assert "form with token, SQLite; form with token, memory" in text.splitlines()[-1]
    assert {"form with token, SQLite", "form with token, memory"} <= {
        line.partition(":")[0] for line in compare.above(rows, 2)
    }


def test_a_page_that_is_slower_for_some_requests(sources: dict[str, Path]) -> None:
    """The shortest request of each turn does not show it; the median does, and the page is dearer all the same."""
    import compare

    add(sources["this"], MOSTLY_SLOWER)
    measured = compare.measure(sources, ["form with token"], ["memory"], minutes=0.05)
    (row,) = compare.rows(measured, ["form with token"], ["memory"])
    assert row.this - row.that < 2500
    assert row.verdict(1) == "dearer"
    assert row.may_exceed(2)


def test_a_page_that_one_revision_does_not_have(sources: dict[str, Path]) -> None:
    """An older revision without user_session: its pages are left out on both sides and named; others are measured."""
    import compare

    add(sources["that"], "\ndel user_session\n")
    pages = ["reads", "reads user_session"]
    measured = compare.measure(sources, pages, ["memory"], minutes=0.01)
    rows = compare.rows(measured, pages, ["memory"])
    assert [row.page for row in rows] == ["reads"]
    assert measured.missing == ["reads user_session"]
    assert "does not have it: reads user_session" in compare.text(rows, "that one", measured.missing)


def test_a_side_that_fails(sources: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    """A revision on which a page does not work ends the measurement with an error; nothing is left out in silence."""
    import compare

    add(sources["that"], "\ndef generate_csrf():\n    return 1 / 0\n")
    with pytest.raises(RuntimeError, match="ended during the measurement"):
        compare.measure(sources, ["form with token"], ["memory"], minutes=0.01)
    assert "ZeroDivisionError" in capfd.readouterr().err


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the checkout's history")
class TestCommand:
    """As it is called."""

    def test_with_the_last_commit(self) -> None:
        """Every page has its row, and the exit code is 0 whatever was found."""
        from compare_pages import PAGES

        done = run("--compare", "HEAD", "--stores", "memory", "--minutes", "0.02")
        assert done.returncode == 0, done.stderr
        assert [page for page in PAGES if f"| {page} " not in done.stdout] == []
        assert done.stdout.splitlines()[-1].startswith("Dearer: ")

    def test_fail_above(self) -> None:
        """With a limit that no page keeps, the exit code is 1 and each page that is above it is named."""
        arguments = ("--compare", "HEAD", "--stores", "memory", "--pages", "reads", "changes", "--minutes", "0.02")
        done = run(*arguments, "--fail-above=-99")
        assert done.returncode == 1
        assert "reads, memory: " in done.stderr
        assert "changes, memory: " in done.stderr
        assert "| reads " in done.stdout

    def test_an_unknown_revision(self) -> None:
        """An error that names it, before anything is measured."""
        done = run("--compare", "no-such-revision")
        assert done.returncode == 1
        assert "revision no-such-revision cannot be exported" in done.stderr
        assert done.stdout == ""

    @pytest.mark.parametrize("wrong", [("--minutes", "0"), ("--minutes", "inf"), ("--pages", "no such"), ("--write",)])
    def test_wrong_arguments(self, wrong: tuple[str, ...]) -> None:
        """Are refused before anything is measured."""
        assert run("--compare", "HEAD", *wrong).returncode == 2
