"""The results of one run as tables, for a terminal and in Markdown, and as JSON."""

from __future__ import annotations

import datetime
import os
import platform
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from statistics import median

import forms
import targets
from apps import CONTESTANTS, LOGIN_CONTESTANTS, LOGIN_PAGES, ONE_PROCESS, PAGES
from calls import Calls
from commands import REQUESTS, Counts
from forms import Forms
from inprocess import IN_A_VIEW, RAW_GET, RAW_REPLACE, RAW_SQLITE, Samples, spread
from owners import OwnersScale
from scale import PurgeWait, ReadScale
from served import CONNECTIONS, SESSIONS, WORKERS, Rate
from sizes import Size
from tables import table
from targets import Row
from tools import need

_PACKAGES = (
    *(
        "flask-cloakroom",
        "Flask",
        "Werkzeug",
        "Flask-Session",
        "Flask-Login",
        "Flask-WTF",
        "redis",
        "hiredis",
        "msgpack",
        "msgspec",
    ),
    *("itsdangerous", "gunicorn"),
)


@dataclass
class Results:
    """The figures of all parts. A part that was not measured is None."""

    about: dict[str, str]
    #: With every core kept awake, and with cores that may sleep.
    samples: Samples | None = None
    asleep: Samples | None = None
    commands: dict[str, dict[str, Counts]] | None = None
    sizes: dict[str, Size] | None = None
    served: dict[str, dict[str, Rate]] | None = None
    calls: Calls | None = None
    reads: ReadScale | None = None
    purge: PurgeWait | None = None
    logins: Samples | None = None
    login_commands: dict[str, dict[str, Counts]] | None = None
    forms: Forms | None = None
    owners: dict[str, OwnersScale] = field(default_factory=dict)
    contestants: list[str] = field(default_factory=list)

    def request_rows(self, samples: Samples | None) -> list[Row]:
        """Return the targets for one request, if every contestant that they need was measured."""
        everybody = set(self.contestants) >= set(CONTESTANTS) - ONE_PROCESS
        return list(targets.of_requests(samples)) if samples and everybody else []

    def rows(self) -> list[Row]:
        """Return every target whose figures were measured."""
        rows = self.request_rows(self.samples)
        if self.commands and {"flask-session", "cloakroom-redis"} <= set(self.commands):
            rows += targets.of_commands(self.commands)
        if self.logins and self.login_commands:
            rows += targets.of_logins(self.logins, self.login_commands)
        if self.forms:
            rows += targets.of_forms(self.forms)
        if self.calls:
            rows += targets.of_calls(self.calls)
        if self.reads:
            rows.append(targets.of_reads(self.reads))
        if self.purge:
            rows.append(targets.of_purge(self.purge))
        for store, found in self.owners.items():
            rows += targets.of_owners(store, found)
        return rows

    def json(self) -> dict[str, object]:
        """Return the figures for programs."""
        parts = ("commands", "login_commands", "sizes", "served", "reads", "purge", "owners")
        return {
            "about": self.about,
            "targets": [asdict(row) for row in self.rows()],
            "requests": _figures(self.samples),
            "requests_cores_asleep": _figures(self.asleep),
            "requests_with_logins": _figures(self.logins),
            "requests_with_forms": _figures(self.forms.samples if self.forms else None),
            "form_commands": asdict(self.forms)["commands"] if self.forms else None,
            "calls": _figures(self.calls),
        } | {name: asdict(self).get(name) for name in parts}


def _figures(samples: Samples | Calls | None) -> dict[str, object] | None:
    if samples is None:
        return None
    return {
        name: {"median_us": round(median(values), 2), "quartiles_us": _rounded(spread(values))}
        for name, values in samples.series.items()
    }


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 2) for value in values]


def about(full: bool) -> dict[str, str]:
    """Return the date, the versions and the machine, on which the figures depend."""
    redis = subprocess.run([need("redis-server"), "--version"], capture_output=True, text=True, check=True)
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "run": "full" if full else "quick",
        "python": platform.python_version(),
        "redis-server": redis.stdout.partition("v=")[2].split()[0],
        "sqlite": sqlite3.sqlite_version,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "load before": f"{os.getloadavg()[0]:.2f}",
    } | {name.lower(): version(name) for name in _PACKAGES}


def _number(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def sections(results: Results) -> Iterator[tuple[str, str, str]]:
    """Yield the title, the explanation and the table of each measured part."""
    rows = results.rows()
    if rows:
        yield "Targets", _TARGETS, _targets_table(rows)
    if results.samples:
        yield "Cost of a request", _REQUESTS, _requests_table(results.samples, results.contestants)
        yield "The least it could cost", _RAW, _raw_table(results.samples)
    if results.asleep:
        yield "On cores that fall asleep", _ASLEEP, _asleep_tables(results, results.asleep)
    if results.commands:
        yield "Commands to Redis", _COMMANDS, _commands_table(results.commands)
    if results.logins:
        yield "With logins", _LOGINS, _logins_table(results.logins, results.login_commands)
    if results.forms:
        yield "With forms", _FORMS, _forms_table(results.forms)
    if results.calls:
        yield "Calls", _CALLS, _calls_table(results.calls)
    if results.sizes:
        yield "Size of a session", _SIZES, _sizes_table(results.sizes)
    if results.served:
        yield "Served", _SERVED, _served_table(results.served)
    if results.reads or results.purge:
        yield "SQLite with many sessions", "", _scale_table(results.reads, results.purge)
    if results.owners:
        yield "A user's sessions among many", _OWNERS, _owners_table(results.owners)


_TARGETS = (
    "*Added cost* is the time of a request minus that of the same request on Flask without a session. A ratio is the "
    "median of the rounds' ratios, so both sides ran within the same tenth of a second. The *middle half* is the range "
    "of half of them."
)
_REQUESTS = "Microseconds of a request inside one process, medians. In brackets the time that the session adds."
_RAW = (
    "Packed commands on a plain socket with hiredis as parser, and a bare SELECT, in the same rounds. The targets use "
    "the figures from a loop that does nothing else. The other figures are from a view of bare Flask: the server has "
    "gone to sleep since the last request, as it has when a session is loaded."
)
_ASLEEP = (
    "For all figures above, a process of the lowest priority on each core keeps the core awake, as on a server under "
    "load. On an idle machine the core of Redis sleeps between two requests. To wake it can take longer than the rest "
    "of the request. The same measurement with cores that may sleep:"
)
_COMMANDS = (
    f"For one request, over {REQUESTS} requests. Redis also counts the commands inside a script "
    "(`INFO commandstats`). `MONITOR` shows which commands clients sent and waited for."
)
_LOGINS = (
    "Microseconds of a request inside one process, medians, on Redis with a loader that costs nothing. In brackets the "
    "time added to bare Flask, and after it the number of commands sent."
)
_FORMS = (
    "Microseconds of a request inside one process, medians, with sessions on Redis. In brackets the time added to bare "
    "Flask, and after it the number of commands sent. Every contestant gets a browser's request: with the token in the "
    "form, and with headers that tell its origin."
)
_OWNERS = (
    "Milliseconds of a call inside a view, medians, and in brackets the longest. All sessions were made with the "
    "package's own calls."
)
_CALLS = (
    "Microseconds of one call on a Unix socket, medians. `FlaskRedis` is called inside an application context. Its "
    "pool takes less time than the driver's, so a call costs less."
)
_SIZES = (
    "Bytes of the same contents (a name, a counter, a cart of three). *In memory* is Redis' own figure for "
    "key and value together."
)
_SERVED = (
    f"Requests a second. In brackets the milliseconds within which 99 of 100 are answered. gunicorn, {WORKERS} "
    f"synchronous workers, {CONNECTIONS} clients, {SESSIONS} sessions. The load generator and Redis run on the same "
    "cores."
)


def _targets_table(rows: list[Row]) -> str:
    header = ("page", "compared with", "median", "theirs", "ratio or value", "middle half", "target", "met?")
    cells = [
        (r.page, r.compared_with, r.ours, r.theirs, r.value, r.spread, r.target, "yes" if r.met else "NO") for r in rows
    ]
    return table(header, [tuple(cell.replace("-", "−") if cell[:1] == "-" else cell for cell in c) for c in cells])


def _requests_table(samples: Samples, contestants: list[str]) -> str:
    rows = []
    for name in contestants:
        cells = [_number(samples.median(f"{name} {page}")) for page in PAGES]
        if name != "bare" and "bare" in contestants:
            added = [_number(samples.added(name, page)) for page in PAGES]
            cells = [f"{cell} ({more})" for cell, more in zip(cells, added, strict=True)]
        rows.append((name, *cells))
    return table(("", *PAGES.values()), rows)


def _raw_table(samples: Samples) -> str:
    rows = [
        (
            name,
            _number(samples.median(name)),
            _number(samples.added(IN_A_VIEW[name], "/read")) if name in IN_A_VIEW else "",
        )
        for name in (RAW_GET, RAW_REPLACE, RAW_SQLITE)
    ]
    return table(("", "in a loop, µs", "added by it to a bare request, µs"), rows)


def _asleep_tables(results: Results, samples: Samples) -> str:
    rows = results.request_rows(samples)
    tables = [_targets_table(rows)] if rows else []
    return "\n\n".join([*tables, _requests_table(samples, results.contestants), _raw_table(samples)])


def _commands_table(counts: dict[str, dict[str, Counts]]) -> str:
    rows = [
        (
            name,
            title,
            f"{pages[page].sent:g}",
            f"{pages[page].in_scripts:g}",
            ", ".join(f"{command} {number:g}" for command, number in pages[page].by_name.items()) or "none",
        )
        for name, pages in counts.items()
        for page, title in PAGES.items()
    ]
    return table(("", "page", "sent", "inside scripts", "as INFO commandstats counts"), rows)


def _logins_table(samples: Samples, counts: dict[str, dict[str, Counts]] | None) -> str:
    rows = [("bare", *(_number(samples.median(f"bare {page}")) for page in LOGIN_PAGES))]
    for name in LOGIN_CONTESTANTS:
        cells = []
        for page in LOGIN_PAGES:
            sent = f"; {counts[name][page].sent:g}" if counts else ""
            cells.append(f"{_number(samples.median(f'{name} {page}'))} ({_number(samples.added(name, page))}){sent}")
        rows.append((name, *cells))
    return table(("", *LOGIN_PAGES.values()), rows)


def _forms_table(measured: Forms) -> str:
    samples = measured.samples
    rows = [(forms.BARE, *(_number(samples.median(f"{forms.BARE} {page}")) for page in forms.PAGES))]
    for name, counts in measured.commands.items():
        cells = (
            f"{_number(samples.median(f'{name} {page}'))} ({_number(samples.added(name, page))}); {counts[page].sent:g}"
            for page in forms.PAGES
        )
        rows.append((name, *cells))
    return table(("", *forms.PAGES.values()), rows)


def _owners_table(owners: dict[str, OwnersScale]) -> str:
    rows = []
    for store, found in owners.items():
        for what, times in ((found.listing, found.list_ms), (found.ending, found.end_ms)):
            rows.append((f"{what}, {store}", f"{median(times):.2f} ({max(times):.2f})"))
        rows.append((f"a login while filling up to {found.many:,}, {store}", f"{found.fill_us / 1000:.2f}"))
    return table(("", "ms"), rows)


def _calls_table(calls: Calls) -> str:
    return table(("", "µs"), [(name, _number(median(values))) for name, values in calls.series.items()])


def _sizes_table(sizes: dict[str, Size]) -> str:
    def bytes_of(value: int | None) -> str:
        return "–" if value is None else str(value)

    rows = [(n, str(s.cookie), bytes_of(s.stored), bytes_of(s.memory)) for n, s in sizes.items()]
    return table(("", "in the cookie", "in the store", "in memory"), rows)


def _served_table(served: dict[str, dict[str, Rate]]) -> str:
    rows = [
        (name, *(f"{pages[page].rate:.0f} ({pages[page].p99 / 1000:.1f})" for page in PAGES))
        for name, pages in served.items()
    ]
    return table(("", *PAGES.values()), rows)


def _scale_table(reads: ReadScale | None, wait: PurgeWait | None) -> str:
    rows = []
    if reads:
        rows.append((f"a read among {reads.few:,} sessions", f"{reads.few_us:.1f} µs"))
        rows.append((f"a read among {reads.many:,} sessions", f"{reads.many_us:.1f} µs"))
        rows.append((f"creating one, while filling up to {reads.many:,}", f"{reads.fill_us:.1f} µs"))
    if wait:
        longest, at_rest = (
            f"{max(turns):.1f} ms; {median(turns):.1f} ms" for turns in (wait.longest_ms, wait.longest_at_rest_ms)
        )
        rows.append((f"purging {wait.expired:,} expired rows", f"{wait.purge_seconds:.2f} s"))
        rows.append(("a writer's longest call in any second of it; in half of them", longest))
        rows.append(("the same in the seconds between, without a purge", at_rest))
        rows.append(("99.9 in 100 of its calls took less than", f"{wait.p999_ms:.2f} ms"))
        rows.append(("the same without a purge", f"{wait.p999_at_rest_ms:.2f} ms"))
    return table(("", ""), rows)


def text(results: Results) -> str:
    """Return the tables for a terminal."""
    return "\n\n".join(f"## {title}\n\n{rows}" for title, _, rows in sections(results))


def markdown(results: Results) -> str:
    """Return ``docs/benchmarks.md``."""
    versions = ", ".join(f"{name} {value}" for name, value in results.about.items() if name not in ("date", "run"))
    left_out = ", ".join(sorted(ONE_PROCESS))
    parts = [
        "# Benchmarks",
        f"Measured on {results.about['date']} by `benchmarks/run --{results.about['run']} --write`, which "
        "writes this page.",
        f"Python and libraries: {versions}.",
        "The machine is a small shared one, so read the ratios, not the microseconds. All contestants take "
        "turns in the same run and run with the settings their documentation starts with. "
        f"Several processes cannot share `{left_out}`, so it is not served.",
        "This page compares with other packages. To compare two revisions of this one, run "
        "`benchmarks/run --compare REVISION`.",
        "![Added microseconds per request](benchmark.svg)",
    ]
    for title, explanation, rows in sections(results):
        parts += [f"## {title}", explanation, rows]
    return "\n\n".join(part for part in parts if part) + "\n"
