"""ONNX Runtime runs static graphs and graphs with branches, with an explicit number of threads."""

import asyncio

import numpy as np
import pytest

from service.artifact.repository import Artifact, read_artifact
from service.backends import protocol
from service.backends.onnx import OnnxBackend, session_options
from service.errors import ArtifactBroken, BackendFailed, SettingsInvalid
from service.request import RequestContext
from service.serving.proof import prove_by_golden
from service.settings import OnnxSettings
from tests.builders import build_artifact, golden_image
from tests.onnx_builders import build_branches, build_static, build_static_of_version_1

CPU = OnnxSettings(device="cpu")
RED = golden_image()[None]
GREEN = np.full((1, 64, 64, 3), (0, 204, 0), np.uint8)  # 204 of 255 is 0.8


@pytest.fixture(scope="module")
def branches(tmp_path_factory):
    return read_artifact(build_branches(tmp_path_factory.mktemp("repository")).folder)


def infer(backend, artifact, images):
    work = protocol.infer(backend, artifact.manifest.feed(images, {}), RequestContext.within(20))
    return asyncio.run(work)


@pytest.fixture
def opened():
    """Give a function that opens an artifact until the test ends."""
    backends = []

    def open_one(artifact, settings=CPU):
        backends.append(OnnxBackend(artifact, settings, workers=2))
        return backends[-1]

    yield open_one
    for backend in backends:
        asyncio.run(backend.close())


@pytest.mark.parametrize("build", [build_static, build_static_of_version_1, build_branches])
def test_an_artifact_reproduces_its_golden_sample(opened, tmp_path, build):
    artifact = read_artifact(build(tmp_path).folder)
    asyncio.run(prove_by_golden(artifact, opened(artifact), 20))


def test_each_image_is_answered_by_its_own_expert(opened, branches):
    backend = opened(branches)
    red, green = infer(backend, branches, RED), infer(backend, branches, GREEN)
    assert (red["class_ids"].tolist(), red["gates"].tolist()) == ([[0]], [[[1, 0]]])
    assert (green["class_ids"].tolist(), green["gates"].tolist()) == ([[1]], [[[0, 1]]])
    assert green["scores"] == pytest.approx(0.8)
    assert {name: array.dtype.name for name, array in red.items()} == {
        "boxes": "float32",
        "scores": "float32",
        "class_ids": "int32",
        "gates": "float32",
        "router_probs": "float32",
    }


def test_an_expert_that_is_not_chosen_is_not_run(opened, branches, tmp_path):
    poisoned = read_artifact(build_branches(tmp_path, green=float("nan")).folder)
    backend = opened(poisoned)
    clean = infer(opened(branches), branches, RED)
    for name, array in infer(backend, poisoned, RED).items():
        np.testing.assert_array_equal(array, clean[name])
    assert np.isnan(infer(backend, poisoned, GREEN)["scores"]).all()


def test_threads_do_not_mix_their_answers(opened, branches):
    backend = opened(branches)

    async def together():
        inputs = [branches.manifest.feed(images, {}) for images in (RED, GREEN) * 20]
        return await asyncio.gather(
            *(protocol.infer(backend, one, RequestContext.within(20)) for one in inputs)
        )

    assert [answer["class_ids"].item() for answer in asyncio.run(together())] == [0, 1] * 20


def test_a_batch_or_a_canvas_the_graph_was_not_made_for_is_refused(opened, branches):
    backend = opened(branches)
    with pytest.raises(BackendFailed, match="takes batches of 1, not 2"):
        infer(backend, branches, np.repeat(RED, 2, axis=0))
    with pytest.raises(BackendFailed, match="ONNX Runtime refused the input"):
        infer(backend, branches, RED[:, :32])
    assert infer(backend, branches, RED)["class_ids"].item() == 0


def test_a_graph_that_differs_from_its_manifest_is_refused(branches):
    outputs = tuple(row for row in branches.manifest.outputs if row.role != "class_ids")
    manifest = branches.manifest.model_copy(update={"outputs": outputs})
    with pytest.raises(ArtifactBroken, match="an output 'class_ids' that its manifest does not name"):
        OnnxBackend(Artifact(branches.folder, manifest, ""), CPU, workers=1)


def test_a_file_that_is_no_graph_is_refused(branches, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(ArtifactBroken, match=r"ONNX Runtime cannot load .*model\.onnx"):
        OnnxBackend(Artifact(tmp_path, branches.manifest, ""), CPU, workers=1)


def test_an_artifact_of_several_graphs_is_refused(branches):
    two = tuple(branches.manifest.graphs) * 2
    manifest = branches.manifest.model_copy(update={"graphs": two})
    with pytest.raises(ArtifactBroken, match="has 2 graphs"):
        OnnxBackend(Artifact(branches.folder, manifest, ""), CPU, workers=1)


def test_a_gpu_that_is_not_there_is_refused_only_if_it_is_asked_for(opened, branches):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime is built for a GPU")
    opened(branches, OnnxSettings(device="auto"))
    with pytest.raises(SettingsInvalid, match="SPARSIGHT_ONNX__DEVICE is cuda"):
        OnnxBackend(branches, OnnxSettings(device="cuda"), workers=1)


@pytest.mark.parametrize(("asked", "given"), [(0, 5), (3, 3)])
def test_the_number_of_threads_is_always_stated_and_none_spins(monkeypatch, asked, given):
    monkeypatch.setattr("service.backends.onnx.usable_cores", lambda: 5)
    options = session_options(OnnxSettings(intra_op_threads=asked))
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (given, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_an_openvino_graph_is_none_of_its_own(tmp_path):
    artifact = read_artifact(build_artifact(tmp_path).folder)
    with pytest.raises(ArtifactBroken, match="ONNX Runtime cannot load"):
        OnnxBackend(artifact, CPU, workers=1)
