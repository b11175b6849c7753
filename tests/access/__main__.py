"""Prints who may use which address: `python -m tests.access` asks a real gateway.

Each row is an address and a method. The last columns are the statuses of the answers: without a key, with
rubbish instead of a key, and with keys that are expired, revoked, for something else, and right.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from service.app import create_app
from service.settings import Settings
from tests.access.running import running
from tests.access.walk import KINDS, walk
from tests.builders import build_artifact


def main() -> int:
    """Print the table; return 1 if it is not as service/access/table.py says."""
    argparse.ArgumentParser(
        "python -m tests.access",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        repository = build_artifact(folder / "repository").repository
        app = create_app(Settings.model_construct())
        with running(folder, repository, SPARSIGHT_ADMIN_PORT=0) as gateway:
            rows = list(walk(gateway, app))
    lines = [("port", "method", "address", "needs", *KINDS)]
    lines += [(row.port, row.method, row.path, row.need, *map(str, row.statuses)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(map(str.ljust, line, widths)).rstrip())
    faults = [fault for row in rows for fault in row.faults]
    print("\n".join(faults) if faults else f"\n{len(rows)} rows, all as service/access/table.py says")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
