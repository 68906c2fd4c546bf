"""One side of a comparison: a process that loads one revision and runs the visits that it is told to.

Arguments: the folder that the package must come from, a folder for files, and the stores as ``NAME=URL``. The process
reads lines ``STORE VISIT REQUESTS`` from standard input and answers each with a line of JSON.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import flask_cloakroom
from compare_pages import VISITS, Browser, is_supported, make_app

#: Untimed visits at the start of a block, which fill the caches again after the other process's turn.
WARM_UP = 3


class Worker:
    """The site on each store, with a browser for each visit."""

    def __init__(self, folder: Path, stores: dict[str, str]) -> None:
        self._visits: dict[tuple[str, int], tuple[Browser, Callable[[], object]]] = {}
        for store, url in stores.items():
            app = make_app(url, str(folder))
            for number, visit in enumerate(VISITS):
                if is_supported(visit):
                    browser = Browser(app)
                    self._visits[store, number] = browser, visit.prepare(browser)

    def block(self, store: str, number: int, requests: int) -> dict[str, tuple[float, float]]:
        """Run some visits in a row. Return the shortest and the median request of each page, in microseconds."""
        browser, visit = self._visits[store, number]
        for _ in range(WARM_UP):
            visit()
        browser.times.clear()
        gc.collect()
        gc.disable()
        try:
            for _ in range(requests):
                visit()
        finally:
            gc.enable()
        return {page: (min(times) / 1000, median(times) / 1000) for page, times in browser.times.items()}


def main() -> None:
    source, folder, *stores = sys.argv[1:]
    if not Path(flask_cloakroom.__file__).is_relative_to(source):
        sys.exit("compare_worker: another flask_cloakroom was imported. Start benchmarks/run instead.")
    worker = Worker(Path(folder), dict(store.split("=", 1) for store in stores))
    gc.collect()
    gc.freeze()  # so that the collection before each block checks only the objects of the blocks
    print(json.dumps([number for number, visit in enumerate(VISITS) if is_supported(visit)]), flush=True)
    for line in sys.stdin:
        store, number, requests = line.split()
        print(json.dumps(worker.block(store, int(number), int(requests))), flush=True)


if __name__ == "__main__":
    main()
