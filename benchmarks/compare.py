"""``benchmarks/run --compare REVISION``: measure the working tree and another revision in the same minutes.

Each side is a process of its own. For every page the two take turns of some milliseconds, A B B A, so that a change in
the machine's speed affects both. Every few seconds both processes are replaced, with empty stores and another seed for
Python's hashes: two processes differ a little for their whole life, even with the same code.
"""

from __future__ import annotations

import argparse
import compileall
import io
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from compare_pages import PAGES, VISITS
from compare_statistics import Difference, compare
from tables import table
from tools import cores_awake, end_on_terminate, redis_server, say

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

STORES = ("SQLite", "Redis", "memory")

#: The sides, as the table's columns are named: the working tree, and the other revision.
SIDES = ("this", "that")

#: Timed visits in one turn. More would not help: a disturbance of a turn affects all its visits.
REQUESTS = 12

#: Seconds after which a pair of processes is replaced: about ten times as long as its start takes.
LIFETIME = 12.0

#: The least number of pairs of processes. With only one pair, the result would be the difference of its processes.
MIN_PAIRS = 2

#: The default time in minutes. On a machine with two cores, the intervals become narrower than ±2 % in this time.
MINUTES = 5.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a comparison to the command line of ``benchmarks/run``."""
    group = parser.add_argument_group("comparing with another revision")
    group.add_argument(
        "--compare", metavar="REVISION", help="compare the working tree with this commit, and measure nothing else"
    )
    group.add_argument("--minutes", type=_minutes, default=MINUTES, help=f"how long to compare (default {MINUTES:g})")
    group.add_argument(
        "--pages", nargs="+", metavar="PAGE", choices=PAGES, default=PAGES, help=f"only these: {', '.join(PAGES)}"
    )
    group.add_argument("--stores", nargs="+", choices=STORES, default=STORES, help="only on these stores")
    group.add_argument(
        "--fail-above",
        type=float,
        metavar="PERCENT",
        help="exit with 1 if a page may be dearer by more than this: by the upper end of the interval of its shortest "
        "request, or by the lower end of the interval of its median request",
    )


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes < math.inf:
        raise argparse.ArgumentTypeError("the minutes must be more than 0")
    return minutes


#: A group for each pair of processes: pairs of microseconds, of this side and of that side.
Groups = list[list[tuple[float, float]]]


@dataclass
class Measured:
    """The times of both sides, by page and store."""

    #: The shortest request of each turn. Other programs can only lengthen a request, and seldom lengthen a whole turn.
    shortest: dict[tuple[str, str], Groups] = field(default_factory=lambda: defaultdict(list))
    #: The median request of each turn. It also shows a change that makes only some requests dearer.
    typical: dict[tuple[str, str], Groups] = field(default_factory=lambda: defaultdict(list))
    #: Pages that one of the revisions does not have.
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """One page on one store: the microseconds of the shortest requests, and the difference of the sides."""

    page: str
    store: str
    this: float
    that: float
    shortest: Difference
    typical: Difference

    def verdict(self, rows: int) -> str:
        """Return "dearer" if the shortest or the typical request is dearer, or else the verdict of the shortest.

        ``rows``: the number of rows in the table. Each row has two questions.
        """
        if self.typical.verdict(2 * rows) == "dearer":
            return "dearer"
        return self.shortest.verdict(2 * rows)

    def may_exceed(self, percent: float) -> bool:
        """Return whether this side may be dearer by more than ``percent``.

        For the shortest request the upper end of the interval counts. On a busy machine the interval of the typical
        request is wide, so only its lower end counts.
        """
        limit = 1 + percent / 100
        return self.shortest.interval()[1] > limit or self.typical.interval()[0] > limit


class Worker:
    """A process with the code of one side; see ``compare_worker.py``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.visits: list[int] = self._answer()

    def block(self, store: str, visit: int, requests: int = REQUESTS) -> dict[str, tuple[float, float]]:
        """Let the process take a turn. Return the shortest and the median request of each page."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{store} {visit} {requests}\n")
        self._process.stdin.flush()
        found: dict[str, tuple[float, float]] = self._answer()
        return found

    def _answer(self) -> object:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The process of one side ended during the measurement. Its own error is above.")
        return json.loads(line)


@contextmanager
def exported(revision: str) -> Iterator[dict[str, Path]]:
    """Yield a folder with the ``src`` of each side. They are copies, so edits during the measurement have no effect."""
    with tempfile.TemporaryDirectory(prefix="compare-") as temporary:
        sources = {side: Path(temporary) / side / "src" for side in SIDES}
        shutil.copytree(ROOT / "src", sources["this"], ignore=shutil.ignore_patterns("__pycache__"))
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", "--format=tar", f"{revision}^{{commit}}", "src"],
            capture_output=True,
            check=False,
        )
        if archive.returncode != 0:
            reason = archive.stderr.decode(errors="replace").strip()
            sys.exit(
                f"benchmarks: the revision {revision} cannot be exported. Name a commit with src/ in it. ({reason})"
            )
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(sources["that"].parent, filter="data")
        yield sources


@contextmanager
def _workers(sources: dict[str, Path], stores: list[str], number: int) -> Iterator[dict[str, Worker]]:
    """Run a process for each side on empty stores until the block ends."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as ending:
        redis = ending.enter_context(redis_server(Path(folder))) if "Redis" in stores else ""
        workers = {}
        for database, side in enumerate(SIDES if number % 2 == 0 else SIDES[::-1]):
            own = Path(folder) / side
            own.mkdir()
            urls = {
                "SQLite": f"sqlite:///{own}/sessions.sqlite3",
                "Redis": f"unix://{redis}?db={database}",
                "memory": "memory://",
            }
            process = subprocess.Popen(
                [sys.executable, str(HERE / "compare_worker.py"), str(sources[side]), str(own)]
                + [f"{store}={urls[store]}" for store in stores],
                env={**os.environ, "PYTHONPATH": str(sources[side]), "PYTHONHASHSEED": str(number)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            ending.callback(_end, process)
            workers[side] = Worker(process)
        yield workers


def _end(process: subprocess.Popen[str]) -> None:
    with process:  # closes the pipes: the worker ends with its standard input
        process.terminate()


def measure(sources: dict[str, Path], pages: list[str], stores: list[str], minutes: float) -> Measured:
    """Measure the pages of both sides on the stores for ``minutes``."""
    wanted = [number for number, visit in enumerate(VISITS) if set(visit.pages) & set(pages)]
    measured = Measured()
    dice = random.Random(0)
    for source in sources.values():
        compileall.compile_dir(source, quiet=1)  # otherwise the first process would also compile
    end = time.monotonic() + minutes * 60
    lifetime = min(LIFETIME, minutes * 60 / MIN_PAIRS)
    number = 0
    while number < MIN_PAIRS or time.monotonic() < end:
        until = time.monotonic() + lifetime
        with _workers(sources, stores, number) as workers:
            present = [visit for visit in wanted if all(visit in worker.visits for worker in workers.values())]
            rounds = 0
            while rounds == 0 or time.monotonic() < until:
                turns = [(store, visit) for store in stores for visit in present]
                dice.shuffle(turns)
                for store, visit in turns:
                    first = dice.randrange(2)
                    order = (SIDES[first], SIDES[1 - first], SIDES[1 - first], SIDES[first])
                    _exchange(measured, workers, (store, visit), order, new_group=rounds == 0)
                rounds += 1
        number += 1
    gone = {page for visit in wanted if visit not in present for page in VISITS[visit].pages}
    measured.missing = [page for page in pages if page in gone]
    return measured


def _exchange(
    measured: Measured, workers: dict[str, Worker], what: tuple[str, int], order: tuple[str, ...], *, new_group: bool
) -> None:
    """Let the sides take turns on one visit, A B B A, so that a steady drift of the machine cancels out.

    A random choice decides which side begins: the other has two turns in a row, the second one with warm caches.
    """
    store, visit = what
    turns = [(side, workers[side].block(store, visit)) for side in order]
    for page in VISITS[visit].pages:
        for series, which in ((measured.shortest, 0), (measured.typical, 1)):
            groups = series[page, store]
            if new_group:
                groups.append([])
            # The geometric mean, because the ratios are compared.
            this, that = (math.prod(found[page][which] for side, found in turns if side == one) ** 0.5 for one in SIDES)
            groups[-1].append((this, that))


def rows(measured: Measured, pages: list[str], stores: list[str]) -> list[Row]:
    """Return a row for each page and store that was measured."""
    found = []
    for page in pages:
        for store in stores:
            if groups := measured.shortest.get((page, store)):
                this, that = (median(pair[side] for group in groups for pair in group) for side in (0, 1))
                typical = compare(measured.typical[page, store])
                found.append(Row(page, store, this, that, compare(groups), typical))
    return found


def _percent(ratio: float) -> str:
    return f"{(ratio - 1) * 100:+.1f}".replace("-", "−")


def _interval(difference: Difference) -> str:
    low, high = difference.interval()
    return f"{_percent(difference.ratio)} % ({_percent(low)} to {_percent(high)})"


def text(found: list[Row], revision: str, missing: list[str]) -> str:
    """Return the table, and below it the pages that became dearer."""
    header = ("page", "store", "this µs", "that µs", "shortest request", "median request", "verdict")
    verdicts = [row.verdict(len(found)) for row in found]
    cells = [
        (
            *(row.page, row.store, f"{row.this:.1f}", f"{row.that:.1f}"),
            *(_interval(row.shortest), _interval(row.typical), verdict),
        )
        for row, verdict in zip(found, verdicts, strict=True)
    ]
    parts = [
        f"The working tree (this) and {revision} (that). Microseconds are those of the shortest request of a turn. "
        "Differences are this minus that, with their 95 % intervals.",
        table(header, cells),
        "About one in 20 of the intervals is wrong by chance. The verdicts allow for this: "
        f"all {len(found)} together are wrong in one of 20 runs.",
        *(f"Not measured, because one of the revisions does not have it: {page}" for page in missing),
    ]
    dearer = [f"{row.page}, {row.store}" for row, verdict in zip(found, verdicts, strict=True) if verdict == "dearer"]
    parts.append(f"Dearer: {'; '.join(dearer) or 'nothing seen'}")
    return "\n\n".join(parts)


def above(found: list[Row], percent: float) -> list[str]:
    """Return the pages that may be dearer by more than ``percent``, each with its two intervals."""
    return [
        f"{row.page}, {row.store}: {_interval(row.shortest)}, median request {_interval(row.typical)}"
        for row in found
        if row.may_exceed(percent)
    ]


def main(options: argparse.Namespace) -> None:
    """Measure and print. With ``--fail-above``, exit with 1 if a page may have become dearer by more than that."""
    end_on_terminate()
    # Awake, because a sleeping core changes a time twenty times more than the differences that are looked for.
    with exported(options.compare) as sources, cores_awake():
        say(f"comparing the working tree with {options.compare} for {options.minutes:g} minutes")
        measured = measure(sources, options.pages, options.stores, options.minutes)
    found = rows(measured, options.pages, options.stores)
    print(text(found, options.compare, measured.missing))
    if options.fail_above is not None and (failed := above(found, options.fail_above)):
        sys.exit(f"benchmarks: may be dearer by more than {options.fail_above:g} %:\n" + "\n".join(failed))
