"""Print whether what an older version has made and documented works with this one.

This takes minutes. On stderr, the command says what it checks just now.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from tabulate import tabulate

from tests.upgrade.checks import CHECKS
from tests.upgrade.trees import BEFORE, Versions, why_not


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.upgrade", description=__doc__)
    parser.add_argument("commit", nargs="?", default=BEFORE, help="the older version (default: %(default)s)")
    commit = parser.parse_args().commit
    if why := why_not(commit):
        print(f"tests.upgrade: {why}", file=sys.stderr)
        return 2
    rows, failed = [], False
    with tempfile.TemporaryDirectory() as folder:
        versions = Versions(commit, Path(folder))
        for name, check in CHECKS.items():
            started = perf_counter()
            print(f"tests.upgrade: {name} …", file=sys.stderr, flush=True)
            try:
                works, seen = "yes", check(versions)
            except AssertionError as error:
                works, seen, failed = "NO", str(error), True
            rows.append((name, works, f"{perf_counter() - started:.0f} s", seen))
    print(tabulate(rows, headers=(f"of {commit[:7]}", "works", "took", "seen")))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
