"""Write the dashboards as JSON files: `python deploy/grafana/write_dashboards.py`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from experts_dashboard import experts_dashboard
from releases_dashboard import releases_dashboard
from service_dashboard import service_dashboard

FOLDER = Path(__file__).parent / "dashboards"


def main(argv: Sequence[str] | None = None) -> int:
    """Write one file for each dashboard."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=FOLDER, help="folder (default: %(default)s)")
    folder = parser.parse_args(argv).into
    for board in (service_dashboard(), experts_dashboard(), releases_dashboard()):
        text = json.dumps(board, indent=1, ensure_ascii=False) + "\n"
        (folder / f"{board['uid']}.json").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
