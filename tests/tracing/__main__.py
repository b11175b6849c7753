"""Print the trace of one request as a tree, with milliseconds.

    python -m tests.tracing
    python -m tests.tracing --backends openvino --image photo.jpg --query 'top_k=1'

It starts a collector, a tritonserver (if a backend is triton) and the gateway with tracing, and sends a few
requests. Each line has the name of a span, when it began, how long it lasted, and which service sent it.
"""

import argparse
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.load.machine import describe_machine
from tests.load.services import free_port
from tests.tracing.receiver import ReceivedSpan, Receiver, receive_spans
from tests.tracing.tree import facts, lines
from tests.triton_server import ROOT, TritonServer, start_triton, why_no_triton

MODEL, TARGET = "starter", "openvino"
_READY_S = 60.0
_TRIES = 5
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def main(argv: Sequence[str] | None = None) -> int:
    """Send the request and print its trace; return 1 if spans are missing."""
    args = _parser().parse_args(argv)
    backends = args.backends.split(",")
    with ExitStack() as stack:
        receiver = stack.enter_context(receive_spans())
        settings = {}
        if "triton" in backends:
            if why := why_no_triton():
                print(why, file=sys.stderr)
                return 1
            triton = stack.enter_context(traced_triton(receiver, ROOT / "model_repository"))
            settings["SPARSIGHT_TRITON__URL"] = triton.grpc_url
        settings["SPARSIGHT_BACKENDS"] = ",".join(backends)
        url = stack.enter_context(traced_gateway(receiver, settings))
        image = args.image.read_bytes() if args.image else _read(f"{url}/models/{MODEL}/example")
        for _ in range(3):  # the first requests after a start are slow
            _ask(url, args.query, image)
        enough = is_whole if "triton" in args.query or backends[0] == "triton" else has_root
        for _ in range(_TRIES):  # tritonserver 2.51 sometimes does not see a traceparent
            traceparent = _ask(url, args.query, image)
            spans = receiver.wait_for(traceparent[3:35], enough, limit_s=5)
            if enough(spans):
                break
    also = "tritonserver 2.51.0" if "triton" in backends else "no Triton"
    print(describe_machine(("openvino", "opentelemetry-sdk"), also=also))
    print(f"trace {traceparent[3:35]}; milliseconds since its begin, and of each span\n")
    print(*lines(spans), sep="\n")
    for span in spans:
        if span.name == "detect":
            print("\nattributes of detect:", *facts(span), sep="\n  ")
    return 0 if has_root(spans) else 1


def has_root(spans: Sequence[ReceivedSpan]) -> bool:
    """Return whether the span of the request has arrived, with all others of the gateway."""
    return any(span.name.startswith("POST") for span in spans)


def is_whole(spans: Sequence[ReceivedSpan]) -> bool:
    """Return whether the spans of the gateway and of Triton have arrived."""
    return has_root(spans) and any(span.name == "InferRequest" for span in spans)


@contextmanager
def traced_triton(receiver: Receiver, repository: Path, model: str = MODEL) -> Iterator[TritonServer]:
    """Run a tritonserver that sends its spans to a receiver until the block ends."""
    trace = (
        "mode=opentelemetry",
        "level=TIMESTAMPS",
        "rate=1",
        f"opentelemetry,url={receiver.endpoint}/v1/traces",
        "opentelemetry,bsp_schedule_delay=100",
    )
    extra = [f"--trace-config={one}" for one in trace]
    with start_triton(repository, load=[f"{model}-{TARGET}"], extra=extra) as server:
        yield server


def tracing_environment(receiver: Receiver) -> dict[str, str]:
    """Return the variables with which the gateway sends its spans to a receiver at once."""
    return {
        "SPARSIGHT_TRACING": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "NO_PROXY": "127.0.0.1",
    }


@contextmanager
def traced_gateway(receiver: Receiver, settings: dict[str, str]) -> Iterator[str]:
    """Run the gateway with tracing until the block ends; yield its URL once it is ready."""
    port = free_port()
    ours = {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "SPARSIGHT_REPOSITORY": str(ROOT / "model_repository"),
        "SPARSIGHT_DEFAULT_MODEL": MODEL,
        "SPARSIGHT_TIMEOUT_S": "60",
    }
    environment = {**os.environ, **ours, **tracing_environment(receiver), **settings}
    process = subprocess.Popen([sys.executable, "-m", "service"], cwd=ROOT, env=environment)
    url, end = f"http://127.0.0.1:{port}", time.monotonic() + _READY_S
    try:
        while not _is_ready(url):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the gateway did not become ready; its log is above")
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)


def _is_ready(url: str) -> bool:
    try:
        return bool(_read(f"{url}/readyz"))
    except OSError:
        return False


def _read(url: str) -> bytes:
    with _DIRECT.open(url, timeout=60) as answer:
        return bytes(answer.read())


def _ask(url: str, query: str, image: bytes) -> str:
    """Send an image, and return the header traceparent of the answer."""
    with _DIRECT.open(urllib.request.Request(f"{url}/detect?{query}", image), timeout=60) as answer:
        return str(answer.headers["traceparent"])


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "python -m tests.tracing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add(
        "--backends",
        default="triton,openvino",
        help="backends of the gateway, preferred first (default: %(default)s)",
    )
    add("--image", type=Path, help="image file (default: the example of the starter)")
    add("--query", default="", help="parameters of the request, as in top_k=1")
    return made


if __name__ == "__main__":
    sys.exit(main())
