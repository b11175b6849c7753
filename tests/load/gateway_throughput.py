"""Compares the throughput through the gateway with that of Triton alone.

    .venv/bin/python -m tests.load.gateway_throughput PHOTO.jpg

The script starts a real tritonserver with the starter, and a gateway in a process of its own. Then two loads
alternate. NVIDIA's perf_analyzer sends the resized photo to Triton over gRPC. The same number of callers POST
the photo to the gateway. The script prints both medians, their spread over the rounds, and the ratio of the
gateway to Triton alone. The goal is 0.85.
"""

import argparse
import base64
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from service.artifact.repository import read_artifact
from service.pipeline.decode import decode
from service.pipeline.preprocess import fit_of, preprocess
from tests.load.callers import measure
from tests.load.machine import describe_machine
from tests.load.reports import Load
from tests.triton_server import ENVIRONMENT, ROOT, TritonServer, start_triton, why_no_triton

MODEL = "starter-openvino"
GOAL = 0.85


def main() -> int:
    """Measure both throughputs and print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo", type=Path, help="a photograph; every request sends it")
    parser.add_argument(
        "--callers", type=int, default=4, help="requests at the same time (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="of each, in turns (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each round (default: %(default)s)")
    parser.add_argument(
        "--shared-memory", action="store_true", help="the gateway sends images by shared memory"
    )
    args = parser.parse_args()
    if reason := why_no_triton():
        parser.error(reason)
    photo = args.photo.read_bytes()
    direct: list[float] = []
    through: list[float] = []
    with (
        tempfile.TemporaryDirectory() as scratch,
        start_triton(ROOT / "model_repository", load=[MODEL]) as server,
        gateway(server, shared_memory=args.shared_memory) as port,
    ):
        tensors = Path(scratch) / "tensors.json"
        tensors.write_text(json.dumps(tensors_of(photo)))
        gateway_rate(port, photo, args.callers, 2.0)  # warm up
        for number in range(args.rounds):
            direct.append(perf_analyzer_rate(server, tensors, args.callers, args.seconds))
            through.append(gateway_rate(port, photo, args.callers, args.seconds))
            print(f"round {number + 1}: {direct[-1]:.1f} | {through[-1]:.1f} images/s", file=sys.stderr)
    ratios = [a / b for a, b in zip(through, direct, strict=True)]
    print(describe_machine())
    print(f"{MODEL}, {args.callers} callers, {args.rounds} rounds of {args.seconds:g} s, in turns")
    for name, values, unit in (
        ("perf_analyzer, gRPC", direct, " images/s"),
        ("POST /detect, backend=triton", through, " images/s"),
        (f"ratio (goal {GOAL})", ratios, ""),
    ):
        print(f"{name:32} {statistics.median(values):6.2f}{unit}  ({min(values):.2f} to {max(values):.2f})")
    return 0 if statistics.median(ratios) >= GOAL else 1


def tensors_of(photo: bytes) -> dict[str, object]:
    """Return the gateway's Triton request for a photo, in the format of perf_analyzer."""
    manifest = read_artifact(ROOT / "model_repository" / MODEL / "1").manifest
    image = decode(photo, 40_000_000, fit=fit_of(manifest.images))
    canvas = preprocess(image.pixels, manifest.images, image.reduced).canvas
    inputs: dict[str, object] = {}
    for name, array in manifest.feed(canvas, {}).items():
        is_image = name == manifest.images.name
        content = {"b64": base64.b64encode(array.tobytes()).decode()} if is_image else array.ravel().tolist()
        inputs[name] = {"content": content, "shape": list(array.shape)}
    return {"data": [inputs]}


@contextmanager
def gateway(server: TritonServer, *, shared_memory: bool) -> Iterator[int]:
    """Run `python -m service` with Triton as backend, and yield the port of the service."""
    settings = {
        "PORT": "0",
        "SPARSIGHT_BACKENDS": "triton",
        "SPARSIGHT_TRITON__URL": server.grpc_url,
        "SPARSIGHT_TRITON__SHARED_MEMORY": str(shared_memory).lower(),
        "SPARSIGHT_REPOSITORY": str(ROOT / "model_repository"),
    }
    command = [sys.executable, "-m", "service"]
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | settings, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            ready = next((line for line in process.stderr if "ready: open http://" in line), None)
            if ready is None:
                raise RuntimeError("the gateway did not become ready")
            # Without a reader, the log would fill the pipe and block the service.
            Thread(target=process.stderr.read, daemon=True).start()
            yield int(ready.rstrip().rstrip("/").rpartition(":")[2])
        finally:
            process.terminate()


def gateway_rate(port: int, photo: bytes, callers: int, seconds: float) -> float:
    """Return the answered images per second; each caller sends its next image after the answer."""
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        Path(file.name).write_bytes(photo)
        load = Load(port, (file.name,), callers=callers, seconds=seconds, before_s=0.5, deadline_s=0.0)
        report = measure(load)
    if set(report.statuses) != {200}:
        raise RuntimeError(f"the gateway did not answer every image: {report}")
    return report.rate


def perf_analyzer_rate(server: TritonServer, tensors: Path, callers: int, seconds: float) -> float:
    """Return the images per second that perf_analyzer measures on the same tritonserver."""
    report = tensors.with_name("report.csv")
    command = [
        str(ENVIRONMENT / "bin" / "perf_analyzer"),
        *("-m", MODEL, "-u", server.grpc_url, "-i", "grpc", "--input-data", str(tensors)),
        # perf_analyzer reports the mean of three windows; the rounds show how much this mean varies.
        *("--concurrency-range", str(callers), "--measurement-interval", str(int(seconds * 1000 / 3))),
        *("--max-trials", "3", "--stability-percentage", "999", "-f", str(report)),
    ]
    environment = os.environ | {"LD_LIBRARY_PATH": str(_plain_names(tensors.parent))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if not report.exists():
        raise RuntimeError(f"perf_analyzer failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    with report.open() as file:
        return float(next(csv.DictReader(file))["Inferences/Second"])


def _plain_names(scratch: Path) -> Path:
    """Link two libraries of the wheel under the names that perf_analyzer needs."""
    folder = scratch / "libraries"
    folder.mkdir(exist_ok=True)
    carried = next(ENVIRONMENT.glob("lib/python*/site-packages")) / "nvidia_pytriton.libs"
    for plain, pattern in (("libb64.so.0d", "libb64-*"), ("libcudart.so.12", "libcudart-*")):
        link = folder / plain
        if not link.exists():
            link.symlink_to(next(carried.glob(pattern)))
    return folder


if __name__ == "__main__":
    sys.exit(main())
