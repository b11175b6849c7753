"""A model with paths runs its router first, then the graph of the path and the top_k."""

import asyncio
import logging

import numpy as np
import pytest

from service.artifact.repository import read_artifact
from service.backends.openvino import OpenVinoEngine
from service.backends.protocol import infer
from service.backends.table import BACKENDS
from service.errors import ArtifactBroken, ArtifactMismatch, BackendFailed, BackendUnavailable
from service.request import RequestContext
from service.settings import BrownoutSettings, Settings
from tests.path_artifacts import BLUE, GREEN, RED, build_paths, rewrite_sums, swap_graphs, whole_answer
from training.export.proof.openvino_engine import cpu_capabilities

ENGINES = [
    pytest.param(("openvino", "openvino"), id="openvino"),
    pytest.param(("onnx", "onnx"), id="onnx"),
    pytest.param(("openvino", "onnx"), id="onnx file on openvino"),
]


def opened(built, backend="openvino", **settings):
    open_backend = BACKENDS[backend].open
    return open_backend(read_artifact(built.folder), Settings(**settings))


def run(backend, images, top_ks):
    inputs = {"images": np.stack(images), "top_k": np.array(top_ks, np.int64)[:, None]}
    return asyncio.run(infer(backend, inputs, RequestContext.within(20)))


def loaded(caplog):
    rows = [record for record in caplog.records if record.getMessage() == "path_loaded"]
    return [(row.path, row.top_k) for row in rows]


@pytest.mark.parametrize("engine", ENGINES)
def test_each_image_gets_the_outputs_of_its_own_route(tmp_path, engine):
    backend, target = engine
    backend = opened(build_paths(tmp_path, target=target), backend)
    for image in (RED, GREEN, BLUE):
        for top_k in (2, 1):
            got, want = run(backend, [image], [top_k]), whole_answer(image, top_k)
            assert got.keys() == want.keys()
            for name, value in want.items():
                assert got[name].dtype == value.dtype
                np.testing.assert_allclose(got[name], value, atol=1e-5, err_msg=name)
    asyncio.run(backend.close())


def test_the_router_of_an_artifact_in_bf16_computes_in_float32(tmp_path, monkeypatch):
    if "BF16" not in cpu_capabilities():
        pytest.skip("this CPU does not compute in bf16")
    artifact = read_artifact(build_paths(tmp_path, answers=False, changes={"precision": "bf16"}).folder)
    compiled = {}
    load = OpenVinoEngine.read

    def noting(engine, path, tensors, **how):
        def graph():
            compiled[path.stem] = made = load(engine, path, tensors, **how)()
            return made

        return graph

    monkeypatch.setattr(OpenVinoEngine, "read", noting)
    asyncio.run(BACKENDS["openvino"].open(artifact, Settings()).close())
    assert {name: graph.precision for name, graph in compiled.items()} == {
        graph.name: "f32" if graph.name == artifact.manifest.paths.router else "bf16"
        for graph in artifact.manifest.graphs
        if not graph.name.endswith("k1")
    }


@pytest.mark.parametrize("engine", ENGINES)
def test_a_batch_of_several_routes_keeps_the_order_of_its_images(tmp_path, engine):
    backend, target = engine
    backend = opened(build_paths(tmp_path, target=target, batch=(1, 2, 5)), backend)
    images, top_ks = [BLUE, RED, GREEN, RED, RED], [2, 1, 2, 2, 1]
    got = run(backend, images, top_ks)
    for i, (image, top_k) in enumerate(zip(images, top_ks, strict=True)):
        for name, value in whole_answer(image, top_k).items():
            np.testing.assert_allclose(got[name][i], value[0], atol=1e-5, err_msg=f"{name} {i}")
    asyncio.run(backend.close())


def test_an_earlier_artifact_whose_routes_have_weights_of_their_own_answers_alike(tmp_path):
    built = build_paths(tmp_path, shared=False)
    assert len(list(built.folder.glob("path*.bin"))) == 6
    backend = opened(built)
    for image in (RED, GREEN, BLUE):
        for top_k in (2, 1):
            got, want = run(backend, [image], [top_k]), whole_answer(image, top_k)
            np.testing.assert_allclose(got["scores"], want["scores"], atol=1e-5)
    asyncio.run(backend.close())


def test_a_tie_goes_to_the_first_path(tmp_path):
    grey = np.full((64, 64, 3), 90, np.uint8)
    backend = opened(build_paths(tmp_path))
    assert run(backend, [grey], [2])["class_ids"].tolist() == [[0] * 4]
    asyncio.run(backend.close())


@pytest.mark.parametrize("backend", ["openvino", "onnx"])
def test_routes_of_the_default_top_k_are_loaded_first_and_others_at_their_first_use(
    tmp_path, caplog, backend
):
    caplog.set_level(logging.INFO)
    running = opened(build_paths(tmp_path, target=backend), backend)
    assert loaded(caplog) == [(0, 2), (1, 2), (2, 2)]
    for _ in range(2):
        run(running, [GREEN], [1])
    assert loaded(caplog)[3:] == [(1, 1)]
    asyncio.run(running.close())


def test_routes_to_which_a_brownout_may_go_are_loaded_first(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    backend = opened(build_paths(tmp_path), brownout=BrownoutSettings(min_top_k=1))
    assert len(loaded(caplog)) == 6
    asyncio.run(backend.close())


def test_a_route_that_is_loaded_later_does_not_read_its_file_again(tmp_path):
    built = build_paths(tmp_path)
    backend = opened(built)
    for file in built.folder.iterdir():
        file.unlink()
    np.testing.assert_allclose(run(backend, [RED], [1])["scores"], whole_answer(RED, 1)["scores"], atol=1e-6)
    asyncio.run(backend.close())


@pytest.mark.parametrize("target", ["openvino", "onnx"])
def test_probabilities_that_are_not_finite_are_an_error(tmp_path, target):
    backend = opened(build_paths(tmp_path, target=target, broken="router"), target)
    with pytest.raises(
        BackendFailed, match="the router of model 'routed' returned a number that is not fini"
    ):
        run(backend, [RED], [2])
    asyncio.run(backend.close())


def replaced(built, file, other):
    """Store one of the artifact's graphs under the name of another, with a correct sha256."""
    for ending in (".xml", ".bin"):
        (built.folder / (file + ending)).write_bytes((built.folder / (other + ending)).read_bytes())
    rewrite_sums(built.folder)
    return built


def swapped(built, one, other):
    swap_graphs(built.folder, one, other)
    return built


@pytest.mark.parametrize("file", ["path0-k2", "path2-k1"])
def test_a_graph_with_other_tensors_is_refused_at_the_start(tmp_path, file):
    built = replaced(build_paths(tmp_path, shared=False), file, "router")
    with pytest.raises(ArtifactBroken, match=rf"{file}.xml has no output 'boxes'"):
        opened(built)


def test_a_router_with_other_tensors_is_refused_at_the_start(tmp_path):
    built = replaced(build_paths(tmp_path, shared=False), "router", "path0-k2")
    with pytest.raises(ArtifactBroken, match=r"router.xml has no output 'path_probs'"):
        opened(built)


def test_a_route_with_unusable_outputs_is_refused_at_the_start(tmp_path):
    with pytest.raises(ArtifactMismatch, match="path 1 at top_k 2"):
        opened(build_paths(tmp_path, broken="path1-k2"))


def change_weights(built, change):
    """Change the file that the routes share, with a correct sha256."""
    weights = built.folder / "weights.bin"
    weights.write_bytes(change(weights.read_bytes()))
    rewrite_sums(built.folder)
    return built


def test_shared_weights_that_are_too_short_are_refused_with_their_name(tmp_path):
    built = change_weights(build_paths(tmp_path), lambda content: content[:8])
    with pytest.raises(
        ArtifactBroken, match=r"path0-k1\.xml with weights\.bin: Incorrect weights in bin file"
    ):
        opened(built)


def test_shared_weights_that_are_gone_are_refused_with_their_name(tmp_path):
    artifact = read_artifact(build_paths(tmp_path).folder)
    (artifact.folder / "weights.bin").unlink()  # after they were verified
    with pytest.raises(ArtifactBroken, match=r"path0-k1\.xml with weights\.bin: .*No such file"):
        BACKENDS["openvino"].open(artifact, Settings())


def test_shared_weights_of_another_artifact_are_refused_though_their_sha256_is_right(tmp_path):
    other = build_paths(tmp_path, name="other", broken="path1-k2").folder / "weights.bin"
    with pytest.raises(ArtifactMismatch, match="path 1 at top_k 2"):
        opened(change_weights(build_paths(tmp_path), lambda content: other.read_bytes()))


def test_a_rare_route_with_unusable_outputs_is_unavailable_and_the_others_answer(tmp_path):
    backend = opened(build_paths(tmp_path, broken="path1-k1"))
    for _ in range(2):
        with pytest.raises(BackendUnavailable, match="path 1 at top_k 1"):
            run(backend, [GREEN], [1])
    assert run(backend, [GREEN], [2])["class_ids"][0, 0] == 1
    asyncio.run(backend.close())


@pytest.mark.parametrize("engine", ENGINES)
def test_a_route_with_the_weights_of_another_path_is_refused_at_the_start(tmp_path, engine):
    backend, target = engine
    built = swapped(build_paths(tmp_path, target=target), "path1-k2", "path2-k2")
    # The golden image has more green than blue, so the box of path 1 has the higher score: 82.5 against 37.5.
    sentence = r"golden sample: scores \(path 1 at top_k 2\) differs by 0.176\d+; the limit is 0.0001"
    with pytest.raises(ArtifactMismatch, match=sentence):
        opened(built, backend)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_route_with_the_weights_of_another_path_is_refused_at_its_first_use(tmp_path, engine):
    backend, target = engine
    running = opened(swapped(build_paths(tmp_path, target=target), "path1-k1", "path2-k1"), backend)
    for _ in range(2):
        for image, path in ((GREEN, 1), (BLUE, 2)):
            with pytest.raises(
                BackendUnavailable, match=rf"scores \(path {path} at top_k 1\) differs by 0.088"
            ):
                run(running, [image], [1])
    assert run(running, [RED], [1])["class_ids"][0, 0] == 0
    assert run(running, [GREEN], [2])["class_ids"][0, 0] == 1
    asyncio.run(running.close())


def test_a_batch_of_golden_images_is_compared_where_graphs_take_no_single_image(tmp_path):
    built = build_paths(tmp_path, batch=(3,))
    asyncio.run(opened(built).close())
    with pytest.raises(ArtifactMismatch, match="path 0 at top_k 2"):
        opened(swapped(built, "path0-k2", "path0-k1"))


def test_an_earlier_artifact_without_the_answers_of_its_routes_is_served_as_before(tmp_path):
    built = build_paths(tmp_path, answers=False)
    backend = opened(swapped(built, "path1-k2", "path2-k2"))  # which nothing could notice
    assert run(backend, [GREEN], [2])["class_ids"][0, 0] == 2
    asyncio.run(backend.close())


def test_a_golden_sample_with_the_answers_of_some_outputs_is_broken(tmp_path):
    built = build_paths(tmp_path)
    with np.load(built.folder / "golden.npz") as file:
        arrays = {name: array for name, array in file.items() if name != "routes_boxes"}
    np.savez(built.folder / "golden.npz", **arrays)
    rewrite_sums(built.folder)
    with pytest.raises(ArtifactBroken, match=r"golden.npz has no array 'routes_boxes'"):
        opened(built)


def test_a_top_k_or_a_batch_without_graphs_is_refused(tmp_path):
    backend = opened(build_paths(tmp_path))
    with pytest.raises(BackendFailed, match="no graph for top_k 3"):
        run(backend, [RED], [3])
    with pytest.raises(BackendFailed, match="batches of 1, not 2"):
        run(backend, [RED, RED], [2, 2])
    asyncio.run(backend.close())
