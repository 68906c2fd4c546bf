"""The parts of the benchmark, run one after the other, and what becomes of their figures."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import calls
import chart
import commands
import forms
import inprocess
import owners
import report
import scale
import served
import sizes
from apps import Place
from tools import cores_awake, end_on_terminate, redis_server, say

#: Processes at work from which on the figures for Redis, which needs a core of its own, say little.
QUIET = 0.7

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"


@contextmanager
def fresh_place() -> Iterator[Place]:
    """Give an empty Redis and an empty folder, and take both away afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, redis_server(Path(folder)) as path:
        yield Place(socket=path, folder=folder)


def measure(options: argparse.Namespace) -> report.Results:
    """Run the chosen parts, each with a Redis and a folder of its own."""
    full: bool = options.full
    names: list[str] = options.only
    stored = [name for name in names if name not in ("bare", "cookie", "cloakroom-memory")]
    results = report.Results(report.about(full), contestants=names)
    if "requests" in options.parts:
        rounds = options.rounds or (400 if full else 100)
        say(f"cost of a request: {rounds} rounds, cores kept awake")
        with fresh_place() as place, cores_awake():
            results.samples = inprocess.measure(names, place, rounds, block=40)
        say(f"cost of a request: {rounds} rounds, cores as they are")
        with fresh_place() as place:
            results.asleep = inprocess.measure(names, place, rounds, block=40)
    if "commands" in options.parts:
        say("counting commands")
        with fresh_place() as place:
            on_redis = [name for name in stored if "sqlite" not in name]
            results.commands = commands.count(on_redis, place)
    if "logins" in options.parts:
        say("pages of a site with logins")
        with fresh_place() as place, cores_awake():
            results.logins = inprocess.measure_logins(place, rounds=200 if full else 60, block=40)
        with fresh_place() as place:
            results.login_commands = commands.count_logins(place)
    if "forms" in options.parts:
        say("pages with forms")
        with fresh_place() as place, cores_awake():
            results.forms = forms.measure(place, rounds=200 if full else 60, block=40)
    if "calls" in options.parts:
        with fresh_place() as place, cores_awake():
            results.calls = calls.measure(place, rounds=200 if full else 60)
    if "sizes" in options.parts:
        with fresh_place() as place:
            results.sizes = sizes.measure(names, place)
    if "served" in options.parts:
        with fresh_place() as place:
            rounds, seconds = (9, 2) if full else (5, 1)
            results.served = served.measure(names, place, rounds, seconds)
    if "reads" in options.parts:
        with fresh_place() as place:
            many = 1_000_000 if full else 100_000
            results.reads = scale.reads(Path(place.folder), many, rounds=100 if full else 40)
    if "purge" in options.parts:
        with fresh_place() as place:
            results.purge = scale.purge(Path(place.folder), expired=200_000 if full else 40_000)
    if "owners" in options.parts:
        for store in owners.STORES:
            with fresh_place() as place:
                results.owners[store] = owners.measure(store, place, many=1_000_000 if full else 100_000)
    return results


def write(results: report.Results) -> None:
    """Keep the figures in the checkout."""
    assert results.samples is not None
    (HERE / "results.json").write_text(json.dumps(results.json(), indent=2, ensure_ascii=False) + "\n")
    (DOCS / "benchmarks.md").write_text(report.markdown(results))
    chart.draw(results.samples, DOCS / "benchmark.svg")
    say("wrote benchmarks/results.json, docs/benchmarks.md and docs/benchmark.svg")


def _warn_of_load() -> None:
    load = os.getloadavg()[0]
    if load > QUIET:
        say(f"other programs are at work here (load {load:.1f}): what waits for Redis waits for them too")


def main(options: argparse.Namespace) -> None:
    """Measure, print, and with ``--write`` keep."""
    end_on_terminate()
    _warn_of_load()
    results = measure(options)
    print(report.text(results))
    if options.write:
        write(results)
