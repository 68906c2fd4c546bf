"""Measure Flask-Cloakroom and compare it with Flask's own sessions and Flask-Session, or with another revision.

``benchmarks/run`` makes the environment for this. Started in another environment, this module starts that script.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PARTS = ("requests", "commands", "logins", "forms", "calls", "sizes", "served", "reads", "purge", "owners")
NEEDED = ("flask_cloakroom", "flask_login", "flask_session", "flask_wtf", "gunicorn", "hiredis", "matplotlib", "redis")
NEEDED_TO_COMPARE = ("flask_cloakroom", "redis")


def use_environment(needed: tuple[str, ...]) -> None:
    """Return if the needed packages are installed. Otherwise start the script that installs them."""
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if not missing:
        return
    if Path(sys.prefix) == HERE.parent / ".venv-bench":
        sys.exit(f"benchmarks: .venv-bench lacks {', '.join(missing)}. Delete it and start again.")
    script = str(HERE / "run")
    os.execv(script, [script, *sys.argv[1:]])


def parse(contestants: list[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    import compare

    parser = argparse.ArgumentParser(prog="benchmarks/run", description=__doc__)
    speed = parser.add_mutually_exclusive_group()
    speed.add_argument("--full", action="store_true", help="all parts at the sizes of the targets (takes minutes)")
    speed.add_argument("--quick", action="store_true", help="fewer rounds and smaller stores (the default)")
    parser.add_argument(
        "--write", action="store_true", help="also write results.json, docs/benchmarks.md and the chart"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="measure only these")
    parser.add_argument("--only", nargs="+", choices=contestants, default=contestants, help="contestants")
    parser.add_argument("--rounds", type=int, help="rounds of the request measurement")
    compare.add_options(parser)
    options = parser.parse_args()
    if options.write and (set(options.parts) != set(PARTS) or set(options.only) != set(contestants)):
        parser.error("--write needs a whole run. Leave out --parts and --only.")
    if options.compare and options.write:
        parser.error("--write is for one revision. Leave out --compare.")
    return options


def main() -> None:
    compares = any(argument.partition("=")[0] == "--compare" for argument in sys.argv[1:])
    use_environment(NEEDED_TO_COMPARE if compares else NEEDED)
    from apps import CONTESTANTS

    options = parse(list(CONTESTANTS))
    if options.compare:
        import compare

        compare.main(options)
    else:
        import suite

        suite.main(options)


if __name__ == "__main__":
    main()
