"""Run the parts of the benchmark one after the other, and print or store their figures."""

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
from apps import Environment
from tools import cores_awake, end_on_terminate, redis_server, say

#: Busy processes. Above this load the figures for Redis, which needs a core of its own, are not reliable.
MAX_LOAD = 0.7

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"


@contextmanager
def fresh_environment() -> Iterator[Environment]:
    """Yield an empty Redis server and an empty folder, and delete both afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, redis_server(Path(folder)) as path:
        yield Environment(socket=path, folder=folder)


def measure(options: argparse.Namespace) -> report.Results:
    """Run the chosen parts, each with a Redis server and a folder of its own."""
    full: bool = options.full
    names: list[str] = options.only
    stored = [name for name in names if name not in ("bare", "cookie", "cloakroom-memory")]
    results = report.Results(report.about(full), contestants=names)
    if "requests" in options.parts:
        rounds = options.rounds or (400 if full else 100)
        say(f"cost of a request: {rounds} rounds, cores kept awake")
        with fresh_environment() as environment, cores_awake():
            results.samples = inprocess.measure(names, environment, rounds, block=40)
        say(f"cost of a request: {rounds} rounds, cores as they are")
        with fresh_environment() as environment:
            results.asleep = inprocess.measure(names, environment, rounds, block=40)
    if "commands" in options.parts:
        say("counting commands")
        with fresh_environment() as environment:
            on_redis = [name for name in stored if "sqlite" not in name]
            results.commands = commands.count(on_redis, environment)
    if "logins" in options.parts:
        say("pages of a site with logins")
        with fresh_environment() as environment, cores_awake():
            results.logins = inprocess.measure_logins(environment, rounds=200 if full else 60, block=40)
        with fresh_environment() as environment:
            results.login_commands = commands.count_logins(environment)
    if "forms" in options.parts:
        say("pages with forms")
        with fresh_environment() as environment, cores_awake():
            results.forms = forms.measure(environment, rounds=200 if full else 60, block=40)
    if "calls" in options.parts:
        with fresh_environment() as environment, cores_awake():
            results.calls = calls.measure(environment, rounds=200 if full else 60)
    if "sizes" in options.parts:
        with fresh_environment() as environment:
            results.sizes = sizes.measure(names, environment)
    if "served" in options.parts:
        with fresh_environment() as environment:
            rounds, seconds = (9, 2) if full else (5, 1)
            results.served = served.measure(names, environment, rounds, seconds)
    if "reads" in options.parts:
        with fresh_environment() as environment:
            many = 1_000_000 if full else 100_000
            results.reads = scale.reads(Path(environment.folder), many, rounds=100 if full else 40)
    if "purge" in options.parts:
        with fresh_environment() as environment:
            results.purge = scale.purge(Path(environment.folder), expired=200_000 if full else 40_000)
    if "owners" in options.parts:
        for store in owners.STORES:
            with fresh_environment() as environment:
                results.owners[store] = owners.measure(store, environment, many=1_000_000 if full else 100_000)
    return results


def write(results: report.Results) -> None:
    """Write the figures to files in the checkout."""
    assert results.samples is not None
    (HERE / "results.json").write_text(json.dumps(results.json(), indent=2, ensure_ascii=False) + "\n")
    (DOCS / "benchmarks.md").write_text(report.markdown(results))
    chart.draw(results.samples, DOCS / "benchmark.svg")
    say("wrote benchmarks/results.json, docs/benchmarks.md and docs/benchmark.svg")


def _warn_of_load() -> None:
    load = os.getloadavg()[0]
    if load > MAX_LOAD:
        say(f"other programs are busy (load {load:.1f}), so the figures for Redis will be too high")


def main(options: argparse.Namespace) -> None:
    """Measure and print. With ``--write``, also write the files."""
    end_on_terminate()
    _warn_of_load()
    results = measure(options)
    print(report.text(results))
    if options.write:
        write(results)
