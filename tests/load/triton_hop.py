"""Measures the time to send one image to Triton and get an answer from a model that does nothing.

    .venv/bin/python -m tests.load.triton_hop

Four ways alternate, with one call at a time:

- uint8 over gRPC, as the gateway sends images;
- uint8 over gRPC with the image in shared memory;
- uint8 over HTTP;
- float32 over gRPC, which would be needed if the gateway scaled the pixels.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import aio

from clients.transport import Deadline
from clients.triton_http import HttpTransport
from service.backends.triton.channel import TritonChannel
from service.backends.triton.memory import ImageSlots
from service.request import RequestContext
from service.settings import TritonSettings
from tests.load.machine import describe_machine
from tests.triton_server import start_triton, why_no_triton

GOALS_MS = {"gRPC": 1.2, "gRPC, shared memory": 0.6}  # for the median at 640 x 640
MODEL = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        nothing = pb_utils.Tensor("nothing", np.zeros(1, np.float32))
        return [pb_utils.InferenceResponse([nothing]) for _ in requests]
"""

Send = Callable[[], Awaitable[None]]


def main() -> int:
    """Measure all four ways and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=640, help="of the square image (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="of each way, in turns (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=200, help="in each round (default: %(default)s)")
    args = parser.parse_args()
    if reason := why_no_triton():
        parser.error(reason)
    with tempfile.TemporaryDirectory() as folder:
        write_models(Path(folder), args.side)
        with start_triton(Path(folder)) as server:
            seconds = asyncio.run(measure(server.grpc_url, server.http_url, args))
    print(describe_machine())
    print(
        f"{args.side} x {args.side} pixels a call, one call at a time, {args.rounds} rounds of {args.calls}"
    )
    print(f"{'way':22} {'p50 ms':>8} {'(rounds)':>18} {'p99 ms':>8} {'ratio':>6}  goal")
    reference = statistics.median(statistics.median(each) for each in seconds["gRPC"])
    for way, rounds in seconds.items():
        medians = [statistics.median(each) * 1000 for each in rounds]
        every = sorted(second for each in rounds for second in each)
        middle, p99 = statistics.median(medians), every[int(len(every) * 0.99)] * 1000
        spread = f"({min(medians):.2f} to {max(medians):.2f})"
        goal = f"{GOALS_MS[way]:g}" if way in GOALS_MS else ""
        print(f"{way:22} {middle:8.2f} {spread:>18} {p99:8.2f} {middle / reference / 1000:6.2f}  {goal}")
    return 0


def write_models(repository: Path, side: int) -> None:
    """Write two models that do nothing, for uint8 and for float32."""
    for name, data_type, dims in (
        ("noop-uint8", "TYPE_UINT8", f"1, {side}, {side}, 3"),
        ("noop-float32", "TYPE_FP32", f"1, 3, {side}, {side}"),
    ):
        version = repository / name / "1"
        version.mkdir(parents=True)
        (version / "model.py").write_text(MODEL)
        (version.parent / "config.pbtxt").write_text(
            f'backend: "python" max_batch_size: 0 instance_group [ {{ count: 1 kind: KIND_CPU }} ]\n'
            f'input [ {{ name: "images" data_type: {data_type} dims: [ {dims} ] }} ]\n'
            f'output [ {{ name: "nothing" data_type: TYPE_FP32 dims: [ 1 ] }} ]\n'
        )


async def measure(grpc_url: str, http_url: str, args: argparse.Namespace) -> dict[str, list[list[float]]]:
    """Return the seconds of every call, by way of sending and round."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1, args.side, args.side, 3), dtype=np.uint8)
    scaled = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    channel = TritonChannel(TritonSettings(url=grpc_url))
    slots = ImageSlots(pixels.nbytes, 4)
    web = HttpTransport(http_url, None)
    try:
        await channel.register_memory(slots.name, slots.key, slots.total_bytes, 5.0)
        ways: dict[str, Send] = {
            "gRPC": lambda: send_grpc(channel, "noop-uint8", pixels),
            "gRPC, shared memory": lambda: send_memory(channel, slots, pixels),
            "HTTP": lambda: send_http(web, pixels),
            "gRPC, float32": lambda: send_grpc(channel, "noop-float32", scaled),
        }
        seconds: dict[str, list[list[float]]] = {way: [] for way in ways}
        for number in range(args.rounds + 1):
            for way, send in ways.items():
                timed = [await time_of(send) for _ in range(args.calls)]
                if number:  # the first round warms up
                    seconds[way].append(timed)
        await channel.unregister_memory(slots.name, 5.0)
        return seconds
    finally:
        web.close()
        slots.close()
        await channel.close()


async def time_of(send: Send) -> float:
    """Return the seconds of one call."""
    started = time.perf_counter()
    await send()
    return time.perf_counter() - started


async def send_grpc(channel: TritonChannel, model: str, images: NDArray[np.generic]) -> None:
    """Send the image inside the gRPC message."""
    tensor = aio.InferInput("images", list(images.shape), "UINT8" if images.dtype == np.uint8 else "FP32")
    tensor.set_data_from_numpy(images)
    await channel.infer(
        model, "1", [tensor], [aio.InferRequestedOutput("nothing")], RequestContext.within(10.0)
    )


async def send_memory(channel: TritonChannel, slots: ImageSlots, images: NDArray[np.uint8]) -> None:
    """Write the image into memory that both processes map, and send its position."""
    with slots.hold(images) as offset:
        assert offset is not None
        tensor = aio.InferInput("images", list(images.shape), "UINT8")
        tensor.set_shared_memory(slots.name, images.nbytes, offset)
        outputs = [aio.InferRequestedOutput("nothing")]
        await channel.infer("noop-uint8", "1", [tensor], outputs, RequestContext.within(10.0))


async def send_http(web: HttpTransport, images: NDArray[np.uint8]) -> None:
    """Send the image as the binary part of an HTTP request, with a client that blocks."""
    web.infer("noop-uint8", {"images": images}, ["nothing"], Deadline(10.0))


if __name__ == "__main__":
    sys.exit(main())
