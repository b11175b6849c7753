"""Draw every row of every dashboard.

    SPARSIGHT_DATA=data .venv/bin/python -m tests.panels --into deploy/grafana/screenshots

By default, it runs the starter on a gateway, a Triton and a Prometheus of its own, and sends real images.
With --prometheus, it draws what a running Prometheus has.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from tests.dashboards import DASHBOARDS
from tests.integration.monitoring.conftest import Prometheus
from tests.panels.answers import Period, filled_title, rows_of, show
from tests.panels.draw import draw_row
from tests.panels.stack import SCRAPE_S, running


def main(argv: Sequence[str] | None = None) -> int:
    """Write one PNG for each row, and print their names and sizes."""
    parser = argparse.ArgumentParser(
        "python -m tests.panels", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--into", type=Path, required=True, help="folder for the images")
    parser.add_argument(
        "--phase-s", type=float, default=60, help="seconds of each kind of traffic (default: 60)"
    )
    parser.add_argument("--prometheus", help="URL of a running Prometheus, to draw what it has")
    parser.add_argument(
        "--minutes", type=float, default=60, help="minutes to draw, with --prometheus (default: 60)"
    )
    parser.add_argument("--model", default="starter", help="value of the variable model (default: starter)")
    args = parser.parse_args(argv)
    args.into.mkdir(parents=True, exist_ok=True)
    if args.prometheus:
        with httpx.Client(base_url=args.prometheus, timeout=30, trust_env=False) as client:
            now = time.time()
            draw_all(Prometheus(client), Period(now - args.minutes * 60, now, "1m"), args.model, args.into)
        return 0
    with running(args.phase_s) as stack:
        interval = f"{round(SCRAPE_S * 8)}s"
        draw_all(stack.prometheus, Period(stack.start, time.time(), interval), args.model, args.into)
    return 0


def draw_all(prometheus: Prometheus, period: Period, model: str, folder: Path) -> None:
    """Draw each row of each dashboard into a folder."""
    chosen = f'{{model="{model}"}}'
    versions = label_values(prometheus, f"sparsight_image_duration_seconds_count{chosen}", "version", period)
    layers = label_values(prometheus, f"sparsight_expert_activations_total{chosen}", "layer", period)
    variables = {
        "model": model,
        "before": versions[0] if versions else "1",
        "after": versions[-1] if versions else "1",
        "layer": ".+",
        "prometheus": "http://127.0.0.1:9090",
    }
    for path in DASHBOARDS:
        board = json.loads(path.read_text())
        for title, panels in rows_of(board):
            named = filled_title(title, variables)
            shown = show(panels, variables, layers, period, prometheus.ask)
            slug = re.sub(r"\W+", "-", re.sub(r"\$\w+", "", title).lower()).strip("-")
            image = draw_row(f"{board['title']} – {named}", shown, period)
            target = folder / f"{path.stem}-{slug}.png"
            target.write_bytes(image)
            print(f"{target} {len(image) / 1000:.0f} KB")


def label_values(prometheus: Prometheus, series: str, label: str, period: Period) -> list[str]:
    """Return the values of a label in the period, sorted."""
    span = f"{round(period.end - period.start)}s"
    found = prometheus.query(f"count by ({label}) (last_over_time({series}[{span}]))")
    return sorted(one["metric"][label] for one in found)


if __name__ == "__main__":
    sys.exit(main())
