"""OpenVINO runs the graph as the manifest says, from many threads at once."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openvino as ov
import openvino.opset15 as ops
import pytest

from service.artifact.repository import Artifact
from service.backends.openvino import OpenVinoBackend
from service.errors import ArtifactBroken, BackendFailed
from service.settings import OpenVinoSettings
from tests.builders import golden_image, run_graph


def colour(level):
    return np.full((1, 64, 64, 3), level, np.uint8)


def test_outputs_are_those_of_the_graph(artifact, backend):
    got = backend.infer(golden_image()[None], 2, 0.0)
    want = run_graph(artifact.graph, golden_image()[None], top_k=2)
    assert set(got) == set(want)
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value)


@pytest.mark.parametrize("top_k", [1, 2, 3, 4])
def test_as_many_experts_run_as_asked_for_and_their_weights_sum_to_one(backend, top_k):
    gates = backend.infer(golden_image()[None], top_k, 0.0)["gates"]
    assert (gates[0] > 0).sum(axis=1).tolist() == [top_k, min(top_k, 3)]
    np.testing.assert_allclose(gates.sum(axis=2), 1, atol=1e-6)


def test_a_threshold_leaves_the_best_expert(backend):
    gates = backend.infer(golden_image()[None], 4, 1.0)["gates"]
    assert (gates[0] > 0).sum(axis=1).tolist() == [1, 1]


def test_an_answer_is_not_overwritten_by_the_next(backend):
    first = backend.infer(colour(255), 2, 0.0)
    before = {name: value.copy() for name, value in first.items()}
    for _ in range(4):
        backend.infer(colour(0), 1, 0.0)
    for name, value in before.items():
        np.testing.assert_array_equal(first[name], value)


def test_threads_do_not_mix_their_answers(backend):
    levels = [0, 60, 128, 200, 255] * 20
    alone = {level: backend.infer(colour(level), 2, 0.0)["gates"] for level in set(levels)}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda level: backend.infer(colour(level), 2, 0.0)["gates"], levels))
    for level, gates in zip(levels, answers, strict=True):
        np.testing.assert_array_equal(gates, alone[level])


def test_a_batch_the_graph_was_not_made_for_is_refused(backend):
    with pytest.raises(BackendFailed, match="takes batches of 1, not 2"):
        backend.infer(np.zeros((2, 64, 64, 3), np.uint8), 2, 0.0)


def test_a_canvas_of_another_size_is_refused_and_the_next_request_served(backend):
    for _ in range(4):
        with pytest.raises(BackendFailed, match="OpenVINO refused"):
            backend.infer(np.zeros((1, 32, 32, 3), np.uint8), 2, 0.0)
    backend.infer(colour(1), 2, 0.0)


def test_a_file_that_is_no_graph_is_refused(artifact, tmp_path):
    (tmp_path / "model.xml").write_text("<nonsense/>")
    with pytest.raises(ArtifactBroken, match="OpenVINO cannot load"):
        OpenVinoBackend(Artifact(tmp_path, artifact.manifest, ""), OpenVinoSettings(), workers=1)


def test_a_graph_without_the_promised_outputs_is_refused(artifact, tmp_path):
    images = ops.parameter([1, 64, 64, 3], np.uint8, name="images")
    other = ops.convert(images, np.float32)
    other.output(0).set_names({"boxes"})
    ov.save_model(ov.Model([other.output(0)], [images], "other"), tmp_path / "model.xml")
    with pytest.raises(ArtifactBroken, match=r"lacks \['top_k', 'weight_threshold', 'class_ids'"):
        OpenVinoBackend(Artifact(tmp_path, artifact.manifest, ""), OpenVinoSettings(), workers=1)


def test_threads_streams_and_cache_can_be_chosen(artifact, tmp_path):
    settings = OpenVinoSettings(performance="latency", threads=1, streams=1, cache_dir=tmp_path / "cache")
    backend = OpenVinoBackend(artifact, settings, workers=1)
    assert backend.infer(colour(9), 2, 0.0)["gates"].shape == (1, 2, 4)
    backend.close()
