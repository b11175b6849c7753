"""On a real Triton, the model that asks router and route forwards the time and the trace of a request."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from tests.integration.triton.test_gateway import wait_for
from tests.path_artifacts import GREEN, RED, build_paths
from tests.tracing.receiver import receive_spans
from tests.tracing.tree import children
from tests.triton_server import start_triton
from training.export.triton.config import TritonOptions, write_all_configs

pytestmark = pytest.mark.heavy

WHOLE = "routed-openvino"
PARTS = [WHOLE, *(f"{WHOLE}-{graph}" for graph in ("router", "path0-k2", "path1-k2"))]
RUNS_S = 1.5
SLOW_ROUTE = f'''
import json
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Writes down how much time each request has, takes its time, and finds nothing."""

    def initialize(self, args):
        self._seen = Path(args["model_repository"]) / "seen.jsonl"
        self._outputs = {{row["name"]: row for row in json.loads(args["model_config"])["output"]}}

    def execute(self, requests):
        with self._seen.open("a") as file:
            for request in requests:
                file.write(f"{{request.timeout()}}\\n")
        time.sleep({RUNS_S} * len(requests))
        tensors = [
            pb_utils.Tensor(name, np.zeros(row["dims"], pb_utils.triton_string_to_numpy(row["data_type"])))
            for name, row in self._outputs.items()
        ]
        return [pb_utils.InferenceResponse(tensors) for _ in requests]
'''


def replace_route(repository, graph):
    """Let Triton run SLOW_ROUTE in place of the graph of a route."""
    model = repository / f"{WHOLE}-{graph}"
    (model / "1" / "model.py").write_text(SLOW_ROUTE)
    config = (model / "config.pbtxt").read_text()
    for old, new in (('backend: "openvino"', 'backend: "python"'), (f"{graph}.xml", "model.py")):
        assert old in config
        config = config.replace(old, new)
    (model / "config.pbtxt").write_text(config)


def ask(client, image, model=WHOLE, **call):
    """Return whether an image got an answer, with top_k 2; call is what goes with the request."""
    inputs = {"images": image[None], "top_k": np.array([[2]], np.int64)}
    tensors = []
    for name in ("images", "top_k") if model == WHOLE else ("images",):
        kind = "UINT8" if name == "images" else "INT64"
        tensors.append(grpcclient.InferInput(name, list(inputs[name].shape), kind))
        tensors[-1].set_data_from_numpy(inputs[name])
    return client.infer(model, tensors, **call).as_numpy("scores") is not None


@pytest.fixture
def slow(tmp_path):
    """Yield a client of a server whose route of path 0 is SLOW_ROUTE, and a function that reads timeouts."""
    build_paths(tmp_path)
    write_all_configs(tmp_path, TritonOptions(instances=1, max_queue=1))
    replace_route(tmp_path, "path0-k2")
    seen = tmp_path / f"{WHOLE}-path0-k2" / "seen.jsonl"

    def timeouts():
        """Return the timeouts of the requests that the route has begun, in microseconds."""
        return [int(line) for line in seen.read_text().split()] if seen.exists() else []

    with (
        start_triton(tmp_path, load=PARTS) as server,
        grpcclient.InferenceServerClient(server.grpc_url) as client,
    ):
        yield client, timeouts


def test_a_request_s_time_limits_its_wait_for_a_route(slow):
    client, timeouts = slow
    assert ask(client, RED)
    assert ask(client, RED, timeout=60_000_000)
    unlimited, limited = timeouts()
    assert unlimited == 0
    assert 0 < limited < 60_000_000
    assert ask(client, GREEN, timeout=60_000_000), "the first call of a model is slow"
    other = threading.Thread(target=ask, args=(client, RED, f"{WHOLE}-path0-k2"))
    other.start()
    wait_for(lambda: len(timeouts()) == 3)
    with pytest.raises(InferenceServerException) as late:
        ask(client, RED, timeout=400_000)
    other.join()
    assert late.value.status() == "StatusCode.UNAVAILABLE"
    assert "timeout expired" in late.value.message()
    assert len(timeouts()) == 3, "it did not run"
    assert ask(client, GREEN, timeout=60_000_000)


def test_a_full_queue_of_a_route_is_said_to_be_full(slow):
    client, _ = slow
    assert ask(client, RED)
    with ThreadPoolExecutor(4) as pool:
        others = [pool.submit(ask, client, RED, f"{WHOLE}-path0-k2") for _ in range(4)]
        wait_for(lambda: any(other.done() and other.exception() for other in others))
        with pytest.raises(InferenceServerException) as full:
            ask(client, RED)
    assert full.value.status() == "StatusCode.UNAVAILABLE"
    assert "maximum queue size" in full.value.message()


def test_the_calls_of_router_and_route_belong_to_the_trace_of_the_request(tmp_path):
    build_paths(tmp_path)
    write_all_configs(tmp_path, TritonOptions(instances=1))
    with receive_spans() as receiver:
        trace = ("mode=opentelemetry", "level=TIMESTAMPS", "rate=1")
        sent = (f"url={receiver.endpoint}/v1/traces", "bsp_schedule_delay=100")
        settings = [*trace, *(f"opentelemetry,{one}" for one in sent)]
        extra = [f"--trace-config={one}" for one in settings]
        with (
            start_triton(tmp_path, load=PARTS, extra=extra) as server,
            grpcclient.InferenceServerClient(server.grpc_url) as client,
        ):
            for number in range(1, 11):  # tritonserver 2.51 sometimes does not see a traceparent
                trace_id = f"{number:032x}"
                assert ask(client, RED, headers={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"})
                spans = receiver.wait_for(trace_id, lambda found: len(found) >= 7, limit_s=5)
                if spans:
                    break
    (of_whole,) = (span for span in spans if span.name == WHOLE)
    names = [span.name for span in children(spans, of_whole.span_id)]
    assert names == ["compute", f"{WHOLE}-router", f"{WHOLE}-path0-k2"]
