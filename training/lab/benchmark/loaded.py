"""Load graphs in this process and print its memory: what `benchmark --memory` runs in fresh processes.

    python -m training.lab.benchmark.loaded inputs.npz f32 1 default.xml other.xml --read spare.xml
    python -m training.lab.benchmark.loaded inputs.npz f32 1 default.xml other.xml --weights weights.bin

It imports nothing of the project, whose memory would count.
"""

import argparse
import gc
import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

STATUS = Path("/proc/self/status")
SETTLE_S = 0.5  # threads of the engine end after they compiled a graph


def main(argv: Sequence[str] | None = None) -> None:
    """Load the graphs, run each once, and print the memory in MB of 2^20 bytes as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("inputs", type=Path, help=".npz with the inputs of the graphs by name")
    parser.add_argument("hint", help="precision in which the engine computes")
    parser.add_argument("threads")
    parser.add_argument("graphs", nargs="*", type=Path)
    parser.add_argument("--read", nargs="*", type=Path, default=[], help="graphs to read, but not to load")
    parser.add_argument("--weights", type=Path, help="weights of the graphs that have no .bin of their own")
    args = parser.parse_args(argv)
    inputs = dict(np.load(args.inputs))
    kept = load(args.graphs, args.read, inputs, args.hint, args.threads, args.weights)
    gc.collect()
    time.sleep(SETTLE_S)
    sys.stdout.write(json.dumps({"rss_mb": status_mb("VmRSS"), "own_mb": status_mb("RssAnon")}))
    del kept


def load(
    graphs: Sequence[Path],
    read: Sequence[Path],
    inputs: dict[str, Any],
    hint: str,
    threads: str,
    weights: Path | None,
) -> list[object]:
    """Return what a server holds: an inference request of each graph, and the graphs that are only read.

    Graphs without a .bin of their own share `weights`, which is read once.
    """
    import openvino as ov

    core = ov.Core()
    core.set_property({"ENABLE_MMAP": False})  # as the gateway, which keeps no pages of files that may change
    settings = {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
    }
    shared = None
    if weights is not None:
        shared = ov.Tensor(ov.Type.u8, ov.Shape([weights.stat().st_size]))
        with weights.open("rb") as file:
            file.readinto(shared.data)

    def model(path: Path) -> Any:
        if path.with_suffix(".bin").exists():
            return core.read_model(path)
        return core.read_model(path.read_text(encoding="utf-8"), shared)

    kept: list[object] = [core, *map(model, read)]
    for path in graphs:
        request = core.compile_model(model(path), "CPU", settings).create_infer_request()
        request.infer({port.get_any_name(): inputs[port.get_any_name()] for port in request.model_inputs})
        kept.append(request)
    return kept


def status_mb(name: str) -> float:
    """Return a size of this process in MB, by its name in /proc/self/status."""
    found = re.search(rf"^{name}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    assert found is not None, f"no {name} in {STATUS}"
    return int(found[1]) / 1024


if __name__ == "__main__":
    main()
