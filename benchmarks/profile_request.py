"""Show in which functions a request spends its time: ``profile_request.py cloakroom-redis /read``.

cProfile makes calls slower, small calls most of all. Use it to compare functions, and ``benchmarks/run`` for figures.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
from pathlib import Path

from apps import CONTESTANTS, LOGIN_CONTESTANTS, LOGIN_PAGES, PAGES, Environment, make_app, prepare, start_session
from tools import end_on_terminate, redis_server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contestant", choices=CONTESTANTS | LOGIN_CONTESTANTS)
    parser.add_argument("page", choices=PAGES | LOGIN_PAGES)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--sort", choices=("tottime", "cumulative"), default="tottime")
    parser.add_argument("--package", action="store_true", help="only functions of flask_cloakroom")
    parser.add_argument("--lines", type=int, default=25, help="functions to show")
    options = parser.parse_args()
    end_on_terminate()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, redis_server(Path(folder)) as path:
        app = make_app(options.contestant, Environment(path, folder))
        start = "/login" if options.contestant in LOGIN_CONTESTANTS else "/start"
        cookie = "" if options.contestant == "bare" else start_session(app, start)
        request = prepare(app, options.page, cookie)
        for _ in range(100):
            request()
        profile = cProfile.Profile()
        profile.enable()
        for _ in range(options.requests):
            request()
        profile.disable()
    print(f"{options.requests} requests; divide by this number for one")
    stats = pstats.Stats(profile)
    if options.package:
        stats.sort_stats(options.sort).print_stats("flask_cloakroom", options.lines)  # by path, so folders stay
    else:
        stats.strip_dirs().sort_stats(options.sort).print_stats(options.lines)  # strip first: it undoes the sorting


if __name__ == "__main__":
    main()
