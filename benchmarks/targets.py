"""The targets of the project for its cost, and whether a run reaches them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import calls
import forms
from apps import LOGIN_PAGES, PAGES
from calls import Calls
from commands import Counts
from forms import Forms
from inprocess import RAW_GET, RAW_REPLACE, Samples, spread
from owners import OwnersScale
from scale import PurgeWait, ReadScale


@dataclass(frozen=True)
class Row:
    """One target. ``value`` must meet it. ``spread`` is the range of the middle half of the rounds."""

    page: str
    compared_with: str
    ours: str
    theirs: str
    value: str
    spread: str
    target: str
    met: bool


def _us(value: float) -> str:
    return f"{value:.1f} µs"


def of_requests(samples: Samples) -> Iterator[Row]:
    """Yield the targets for the cost of a request."""
    for store in ("redis", "sqlite"):
        name = f"cloakroom-{store}"
        ours, bare = (samples.series[f"{who} /alone"] for who in (name, "bare"))
        page = f"leaves it alone, {store.replace('sqlite', 'SQLite').replace('redis', 'Redis')}"
        yield _ratio(page, "bare Flask, the whole request", ours, bare, 1.0)
    for page, reach, raw, raw_reach in (("/read", 0.38, RAW_GET, 2.2), ("/write", 0.65, RAW_REPLACE, 2.1)):
        title = f"{PAGES[page]}, Redis"
        ours = samples.added_by_round("cloakroom-redis", page)
        theirs = samples.added_by_round("flask-session", page)
        yield _ratio(title, "Flask-Session's added cost", ours, theirs, reach)
        yield _ratio(title, raw, ours, samples.series[raw], raw_reach)
    for page, reach in (("/read", 0.33), ("/write", 0.40)):
        ours = samples.added_by_round("cloakroom-sqlite", page)
        theirs = samples.added_by_round("cookie", page)
        yield _ratio(f"{PAGES[page]}, SQLite", "the cookie session's added cost", ours, theirs, reach)


#: The contestants with logins.
OURS, THEIRS = "cloakroom, logins", "flask-session + flask-login"


def of_logins(samples: Samples, counts: dict[str, dict[str, Counts]]) -> Iterator[Row]:
    """Yield the targets for the pages of a site with logins."""
    ours, theirs = (samples.added_by_round(name, "/members") for name in (OURS, THEIRS))
    title = f"{LOGIN_PAGES['/members']}, Redis"
    yield _ratio(title, "Flask-Session's and Flask-Login's added cost", ours, theirs, 0.40)
    for (page, title), reach in zip(LOGIN_PAGES.items(), (0, 1), strict=True):
        yield _commands(title, counts[OURS][page].sent, counts[THEIRS][page].sent, reach)


def of_forms(measured: Forms) -> Iterator[Row]:
    """Yield the targets for the CSRF protection."""
    series = measured.samples.series
    with_it, without = (series[f"{name} /send"] for name in (forms.OURS, forms.UNPROTECTED))
    more = median(ours - theirs for ours, theirs in zip(with_it, without, strict=True))
    low, high = spread(measured.check)
    yield Row(
        page="the check of a POST that says where it came from",
        compared_with="all that the protection adds: Flask's calls of it, and Vary, as well",
        ours=_us(median(measured.check)),
        theirs=_us(more),
        value=_us(median(measured.check)),
        spread=f"{low:.1f} to {high:.1f} µs",
        target="at most 5.0 µs",
        met=median(measured.check) <= 5.0,
    )
    for (page, title), reach in zip(forms.PAGES.items(), (1, 0), strict=True):
        ours, theirs = (measured.commands[name][page].sent for name in (forms.OURS, forms.THEIRS))
        yield _commands(title, ours, theirs, reach)


def _ratio(page: str, compared_with: str, ours: list[float], theirs: list[float], reach: float) -> Row:
    """Compare the two sides round by round. A machine may change its speed between rounds, and seldom within one."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    value = median(ratios)
    low, high = spread(ratios)
    return Row(
        page=page,
        compared_with=compared_with,
        ours=_us(median(ours)),
        theirs=_us(median(theirs)),
        value=f"{value:.2f}",
        spread=f"{low:.2f} to {high:.2f}",
        target=f"at most {reach:.2f}",
        met=value <= reach,
    )


def of_commands(counts: dict[str, dict[str, Counts]]) -> Iterator[Row]:
    """Yield the target for the number of commands."""
    for (page, title), reach in zip(PAGES.items(), (0, 1, 2), strict=True):
        ours, theirs = (counts[name][page].sent for name in ("cloakroom-redis", "flask-session"))
        yield _commands(title, ours, theirs, reach)


def _commands(title: str, ours: float, theirs: float, reach: int) -> Row:
    return Row(
        page=f"{title}, Redis",
        compared_with="commands sent, the others' beside them",
        ours=f"{ours:g}",
        theirs=f"{theirs:g}",
        value=f"{ours:g}",
        spread="",
        target=f"{reach}",
        met=ours <= reach,
    )


def of_calls(measured: Calls) -> Iterator[Row]:
    """Yield the targets for the Redis client, and for the store alone."""
    for ours, bare in ((calls.OURS, calls.BARE), (calls.OURS_SET, calls.BARE_SET)):
        more = measured.difference(ours, bare)
        low, high = spread(more)
        yield Row(
            page=f"one call, {ours}",
            compared_with=f"{bare}; the difference",
            ours=_us(median(measured.series[ours])),
            theirs=_us(median(measured.series[bare])),
            value=_us(median(more)),
            spread=f"{low:.1f} to {high:.1f} µs",
            target="at most 3.0 µs",
            met=median(more) <= 3.0,
        )
    yield _ratio(calls.LOAD, calls.RAW, measured.series[calls.LOAD], measured.series[calls.RAW], 1.5)


def of_reads(scale: ReadScale) -> Row:
    return Row(
        page=f"read among {scale.many:,}, SQLite",
        compared_with=f"a read among {scale.few:,}",
        ours=_us(scale.many_us),
        theirs=_us(scale.few_us),
        value=f"{scale.ratio:.2f}",
        spread="",
        target="at most 1.50",
        met=scale.ratio <= 1.5,
    )


def of_purge(wait: PurgeWait) -> Row:
    longest = max(wait.longest_ms)
    low, high = spread(wait.longest_ms)
    return Row(
        page=f"purging {wait.expired:,} rows, SQLite",
        compared_with="a writer's longest call, in turns without a purge",
        ours=f"{longest:.1f} ms",
        theirs=f"{max(wait.longest_at_rest_ms):.1f} ms",
        value=f"{longest:.1f} ms",
        spread=f"{low:.1f} to {high:.1f} ms",
        target="under 50 ms",
        met=longest < 50,
    )


def of_owners(store: str, scale: OwnersScale) -> Iterator[Row]:
    """Yield the targets for the list of a user's sessions, and for ending all of them."""
    for what, times, reach in ((scale.listing, scale.list_ms, 5.0), (scale.ending, scale.end_ms, 1000.0)):
        value = median(times)
        low, high = spread(times)
        yield Row(
            page=f"{what}, {store}",
            compared_with=f"among {scale.many:,}",
            ours=f"{value:.2f} ms",
            theirs="",
            value=f"{value:.2f} ms",
            spread=f"{low:.2f} to {high:.2f} ms",
            target=f"under {reach:g} ms",
            met=value < reach,
        )
