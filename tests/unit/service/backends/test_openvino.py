"""OpenVINO runs the graph as the manifest says, from many threads at once."""

import asyncio
import json
import sys
import threading
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import openvino as ov
import openvino.opset15 as ops
import pytest

from service.artifact.manifest import parse_manifest
from service.artifact.repository import Artifact
from service.artifact.tensors import OutputRow
from service.backends import protocol
from service.backends.in_process import AHEAD
from service.backends.openvino import OpenVinoBackend, check_capabilities
from service.errors import ArtifactBroken, BackendFailed, DeadlineExceeded
from service.request import RequestContext
from service.settings import OpenVinoSettings
from tests.builders import compile_graph, golden_image, output_row, run_graph


def fed(images, top_k=2, weight_threshold=0.0):
    """Return the inputs of the tiny graph."""
    rows = len(images)
    threshold = np.full((rows, 1), weight_threshold, np.float32)
    return {"images": images, "top_k": np.full((rows, 1), top_k, np.int64), "weight_threshold": threshold}


def infer(backend, images, top_k, weight_threshold):
    return asyncio.run(
        protocol.infer(backend, fed(images, top_k, weight_threshold), RequestContext.within(20))
    )


def colour(level):
    return np.full((1, 64, 64, 3), level, np.uint8)


def test_outputs_are_those_of_the_graph(artifact, backend):
    got = infer(backend, golden_image()[None], 2, 0.0)
    want = run_graph(compile_graph(artifact.graph), golden_image()[None], top_k=2)
    assert set(got) == set(want)
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value)


@pytest.mark.parametrize("top_k", [1, 2, 3, 4])
def test_as_many_experts_run_as_asked_for_and_their_weights_sum_to_one(backend, top_k):
    gates = infer(backend, golden_image()[None], top_k, 0.0)["gates"]
    assert (gates[0] > 0).sum(axis=1).tolist() == [top_k, min(top_k, 3)]
    np.testing.assert_allclose(gates.sum(axis=2), 1, atol=1e-6)


def test_a_threshold_leaves_the_best_expert(backend):
    gates = infer(backend, golden_image()[None], 4, 1.0)["gates"]
    assert (gates[0] > 0).sum(axis=1).tolist() == [1, 1]


def test_an_answer_is_not_overwritten_by_the_next(backend):
    first = infer(backend, colour(255), 2, 0.0)
    before = {name: value.copy() for name, value in first.items()}
    for _ in range(4):
        infer(backend, colour(0), 1, 0.0)
    for name, value in before.items():
        np.testing.assert_array_equal(first[name], value)


def test_threads_do_not_mix_their_answers(backend):
    levels = [0, 60, 128, 200, 255] * 20
    alone = {level: infer(backend, colour(level), 2, 0.0)["gates"] for level in set(levels)}

    async def together():
        return await asyncio.gather(
            *(protocol.infer(backend, fed(colour(level)), RequestContext.within(20)) for level in levels)
        )

    for level, answer in zip(levels, asyncio.run(together()), strict=True):
        np.testing.assert_array_equal(answer["gates"], alone[level])


def test_a_batch_the_graph_was_not_made_for_is_refused(backend):
    with pytest.raises(BackendFailed, match="takes batches of 1, not 2"):
        infer(backend, np.zeros((2, 64, 64, 3), np.uint8), 2, 0.0)


def test_a_canvas_of_another_size_is_refused_and_the_next_request_served(backend):
    for _ in range(4):
        with pytest.raises(BackendFailed, match="OpenVINO refused"):
            infer(backend, np.zeros((1, 32, 32, 3), np.uint8), 2, 0.0)
    infer(backend, colour(1), 2, 0.0)


def test_a_file_that_is_no_graph_is_refused(artifact, tmp_path):
    (tmp_path / "model.xml").write_text("<nonsense/>")
    with pytest.raises(ArtifactBroken, match="OpenVINO cannot load"):
        OpenVinoBackend(Artifact(tmp_path, artifact.manifest, ""), OpenVinoSettings(), workers=1)


def save_graph(folder, **outputs):
    """Write a graph that answers the average of its image under these names."""
    images = ops.parameter([1, 64, 64, 3], np.uint8, name="images")
    mean = ops.reduce_mean(ops.convert(images, np.float32), ops.constant(np.array([1, 2, 3])))
    ports = []
    for name, dtype in outputs.items():
        node = ops.convert(mean, dtype)
        node.output(0).set_names({name})
        ports.append(node.output(0))
    ov.save_model(ov.Model(ports, [images], "other"), folder / "model.xml", compress_to_fp16=False)


@pytest.mark.parametrize(
    ("outputs", "sentence"),
    [
        pytest.param({"mean": np.float32}, None, id="as the manifest says"),
        pytest.param({"median": np.float32}, "no output 'mean', which its manifest names", id="another name"),
        pytest.param({"mean": np.int32}, r"output 'mean' is i32 \[1\]; its manifest says f32", id="dtype"),
        pytest.param(
            {"mean": np.float32, "more": np.float32}, "an output 'more' that its", id="one too many"
        ),
    ],
)
def test_a_graph_that_differs_from_its_manifest_is_refused(artifact, tmp_path, outputs, sentence):
    row = OutputRow.model_validate_json(json.dumps(output_row("mean", "mean", [])))
    rows = {"inputs": (artifact.manifest.images,), "outputs": (row,)}
    manifest = artifact.manifest.model_copy(update=rows)
    save_graph(tmp_path, **outputs)
    load = partial(OpenVinoBackend, Artifact(tmp_path, manifest, ""), OpenVinoSettings(), workers=1)
    if sentence is None:
        asyncio.run(load().close())
    else:
        with pytest.raises(ArtifactBroken, match=sentence):
            load()


def test_threads_streams_and_cache_can_be_chosen(artifact, tmp_path):
    settings = OpenVinoSettings(performance="latency", threads=1, streams=1, cache_dir=tmp_path / "cache")
    backend = OpenVinoBackend(artifact, settings, workers=1)
    assert infer(backend, colour(9), 2, 0.0)["gates"].shape == (1, 2, 4)
    asyncio.run(backend.close())


class Held:
    """Stands for the engine's requests: the first image stays in it until it is let go."""

    def __init__(self):
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.runs = 0

    def __call__(self, *_):
        self.runs += 1
        self.begun.set()
        self.go_on.wait(10)
        return {}


@pytest.fixture
def held(artifact, monkeypatch):
    backend = OpenVinoBackend(artifact, OpenVinoSettings(), workers=1)
    work = Held()
    monkeypatch.setattr(backend, "compute", work)
    yield backend, work
    work.go_on.set()
    asyncio.run(backend.close())


def test_work_that_nobody_waits_for_any_more_is_never_begun(held):
    backend, work = held

    async def all_and_the_last_leaves():
        calls = (protocol.infer(backend, fed(colour(i)), RequestContext.within(20)) for i in range(2 + AHEAD))
        *served, last = map(asyncio.ensure_future, calls)
        await asyncio.to_thread(work.begun.wait)
        await asyncio.sleep(0.01)
        last.cancel()
        await asyncio.gather(last, return_exceptions=True)
        work.go_on.set()
        await asyncio.gather(*served)

    asyncio.run(all_and_the_last_leaves())
    assert work.runs == 1 + AHEAD


def test_a_deadline_ends_the_waiting_and_a_passed_one_begins_nothing(held):
    backend, work = held
    with pytest.raises(DeadlineExceeded, match=r"within 0.5 s"):
        asyncio.run(protocol.infer(backend, fed(colour(0)), RequestContext.within(0.5)))
    late = RequestContext(request_id="", allowed_s=1, deadline=perf_counter() - 1)
    with pytest.raises(DeadlineExceeded):
        asyncio.run(protocol.infer(backend, fed(colour(0)), late))
    assert work.runs == 1


@pytest.mark.parametrize("capable", [True, False])
def test_a_graph_proved_in_bf16_is_not_served_by_a_cpu_that_would_compute_in_another(tiny, capable):
    manifest = parse_manifest(json.dumps(tiny.manifest | {"precision": "bf16"}).encode(), "manifest.json")
    artifact = Artifact(tiny.folder, manifest, "0" * 64)
    if capable:
        check_capabilities(artifact, ["FP32", "BF16"])
    else:
        with pytest.raises(ArtifactBroken, match="is in bf16, which this CPU does not support"):
            check_capabilities(artifact, ["FP32", "INT8"])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/maps")
def test_the_engine_does_not_compute_with_the_pages_of_files(artifact, tmp_path):
    """Whoever overwrites a file of a served model must not change its answers."""
    image = golden_image()[None]
    settings = OpenVinoSettings(cache_dir=tmp_path)
    for _ in range(2):  # the second reads the compiled graph from the folder
        backend = OpenVinoBackend(artifact, settings, workers=1)
        infer(backend, image, 2, 0.0)
        mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
        assert not {name for name in mapped if name.startswith((str(artifact.folder), str(tmp_path)))}
        asyncio.run(backend.close())
    assert list(tmp_path.iterdir())
