"""Format the memory of loaded graphs for people and as JSON."""

import json
from dataclasses import asdict

from training.columns import in_columns
from training.lab.benchmark.memory import MemoryReport, Spread

LEGEND = (
    "MB of 2^20 bytes: the median of the processes, the least and the most",
    "RSS: memory in RAM; of its own: the part of it that only the process has; the rest are pages of files",
    "every process is fresh, loads the graphs, runs each once, and is then at rest",
    "routes: the router is loaded too; routes that are not loaded are only read, as by a gateway",
    "sparse and dense: one graph for every top_k",
)


def memory_report(result: MemoryReport) -> str:
    """Return the memory of loaded graphs as text."""
    sizes = ", ".join(f"{height}×{width}" for height, width in result.input_hws)
    threads = f"{result.threads} thread{'' if result.threads == 1 else 's'}"
    setting = f"{sizes}; openvino, {threads}; {result.processes} processes for each row"
    rows: list[tuple[object, ...]] = [("model", "", "", "graphs", "files", "RSS", "", "of its own", "")]
    rows.append(("no model", "", "", 0, "", *_spread(result.empty), "", ""))
    for row in result.rows:
        spreads = (*_spread(row.rss_mb), *_spread(row.own_mb))
        rows.append((row.label, row.what, row.precision, row.graphs, f"{row.files_mb:.1f}", *spreads))
    return "\n".join([result.machine, setting, *LEGEND, "", *in_columns(rows, "lllrrrlrl")])


def memory_json(result: MemoryReport) -> str:
    """Return the memory of loaded graphs as JSON."""
    return json.dumps(asdict(result))


def _spread(spread: Spread) -> tuple[str, str]:
    return f"{spread.median:.0f}", f"{spread.least:.0f}–{spread.most:.0f}"
