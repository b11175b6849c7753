"""Prints who may use which address: `python -m tests.access` asks a real gateway."""

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
