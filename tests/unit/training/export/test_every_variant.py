"""Exports of every family keep all experts, skip the unchosen ones, and equal the checkpoint."""

import asyncio
import functools
import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from service.artifact.repository import read_artifact
from service.backends.openvino import OpenVinoBackend
from service.serving.proof import prove_by_golden
from service.settings import OpenVinoSettings
from tests.training_builders import conditioned, diverse_images, reference_outputs, shallow
from tests.unit.training.export.artifact.test_bundle import PROVENANCE, tinted_scenes
from tests.unit.training.export.engines import onnxruntime, poisoned
from training.config import MixtureConfig, RouterConfig
from training.data.images.letterbox import letterbox_image
from training.errors import ExportError
from training.export.artifact.bundle import export_model
from training.export.graph.branch_weights import move_weights_into_branches
from training.export.graph.export_graph import fold_batch_norm
from training.export.graph.onnx_file import to_onnx
from training.export.proof.census import skippable_experts
from training.export.proof.openvino_engine import OpenVinoEngine
from training.export.proof.parity import measure_parity
from training.export.targets import build
from training.export.targets.build import ExportImages
from training.export.targets.options import ExportOptions
from training.export.targets.targets import compared_top_ks, graph_spec
from training.lab.prune.select import drop_experts
from training.models.mixture import dispatch
from training.models.mixture.routing import RoutingControls
from training.models.variants import model_config

# As few as tell the layers apart; of sparsight two layers, of more than it runs by default.
EXPERTS = {"modular-n": (2, 3, 4), "sparsight-n": (3, 3)}
FAMILIES = ("modular-n", "optimized-n", "ultra-n", "moehead-n", "sparsight-n")
# Traced: optimized's layers are modular's. The body for all experts stands beside sparsight's others.
SPARSE = {
    name: replace(graph_spec("openvino", has_mixture=True), branches=branches)
    for name, branches in (
        ("modular-n", "per_expert"),
        ("ultra-n", "per_expert"),
        ("moehead-n", "per_expert"),
        ("odd", "per_expert"),
        ("sparsight-n", "best"),
    )
}


@functools.cache
def built(name):
    """Return a conditioned model of a variant, or `odd`: in backbone and neck what no named variant has.

    With the fewest blocks, and few experts: every operator takes its time to trace.
    """
    config = shallow(model_config("esmoe-n" if name == "odd" else name, ("disc", "ring"), (64, 64)))
    if name == "odd":
        plain = MixtureConfig(num_experts=2, kernel_sizes=(3, 5))
        ghost = replace(plain, expert="ghost", router=RouterConfig(kind="adaptive"))
        inverted = replace(plain, expert="inverted", norm="group", router=RouterConfig(temperature=2.0))
        mixtures = {"backbone.p2": ghost, "backbone.p4": inverted, "neck.p5": plain}
        return conditioned(replace(config, mixtures=mixtures))
    counts = zip(config.mixtures.items(), EXPERTS.get(name, (2, 2, 2)), strict=False)
    return conditioned(replace(config, mixtures={place: fewer(layer, n) for (place, layer), n in counts}))


def fewer(mixture, num_experts):
    return replace(mixture, num_experts=num_experts, top_k=2, kernel_sizes=mixture.kernel_sizes[:num_experts])


def canvases():
    return [letterbox_image(image, (64, 64))[0] for image in tinted_scenes()]


def engine_of(proto, folder):
    onnx.save(proto, folder / "model.onnx")
    return OpenVinoEngine(folder / "model.onnx")


def contested(model):
    """A layer's row, its name, and one of its experts that the best choice falls on for some images only."""
    spec = graph_spec("npu", has_mixture=True)
    gates = np.stack(
        [reference_outputs(model, spec, canvas, RoutingControls(1))["gates"][0] for canvas in canvases()]
    )
    share = (gates > 0).mean(axis=0)  # (L, E)
    row, expert = np.argwhere((share > 0) & (share < 1))[0]
    return int(row), list(model.mixture_layers())[row], int(expert)


def equal_to(model, spec, engine, canvas, top_k=1):
    try:
        measure_parity(model, spec, engine, [canvas], [top_k]).check()
    except ExportError:
        return False
    return True


def manifest_of(exported):
    return json.loads((exported.path / "manifest.json").read_text())


async def replay(artifact):
    """What the service does with an artifact before it serves it."""
    backend = OpenVinoBackend(artifact, OpenVinoSettings(), workers=1)
    try:
        await prove_by_golden(artifact, backend, allowed_s=60)
    finally:
        await backend.close()


@functools.cache
def traced(name):
    """Return the graph that skips; one trace for all of its tests."""
    with pytest.MonkeyPatch.context() as patch:
        # Beside maps of 64 × 64 images no weights are small: here they count as small wherever they can.
        patch.setattr(dispatch, "weights_are_small", lambda experts, x: True)
        return to_onnx(built(name), SPARSE[name])


@pytest.fixture(params=SPARSE)
def sparse(request):
    return built(request.param), traced(request.param)


@pytest.mark.heavy
def test_the_sparse_graph_can_skip_every_expert_and_never_a_shared_one(sparse):
    model, proto = sparse
    experts = sum(len(layer.experts) for layer in model.mixture_layers().values())
    assert skippable_experts(proto.SerializeToString()) == experts
    *_, general = bodies_of(proto.graph)
    assert sum(node.op_type == "If" for node in general.node) == experts


@pytest.mark.heavy
def test_a_graph_for_one_top_k_copies_weights_instead_of_branching():
    *bodies, _ = bodies_of(traced("sparsight-n").graph)
    assert [body.name for body in bodies] == [f"top_k_is_{top_k}" for top_k in (2, 1, 3)]
    assert not any(node.op_type == "If" for body in bodies for node in body.node)


def bodies_of(graph):
    """Yield the body of each top_k, and at last the general one."""
    for node in graph.node:
        if node.name.startswith("top_k_is_"):
            branches = {branch.name: branch.g for branch in node.attribute}
            yield branches["then_branch"]
            yield from bodies_of(branches["else_branch"])
            return
    yield graph


@pytest.mark.heavy
def test_the_sparse_graph_equals_the_checkpoint_at_every_top_k_and_with_thresholds(sparse, tmp_path):
    model, proto = sparse
    spec = graph_spec("openvino", has_mixture=True)
    top_ks = compared_top_ks(model.config, spec)
    parity = measure_parity(model, spec, engine_of(proto, tmp_path), canvases(), top_ks)
    parity.check()
    assert parity.distinct_expert_sets > len(top_ks), "the images must route differently"


@pytest.mark.heavy
def test_a_poisoned_expert_of_the_sparse_graph_spoils_only_the_images_that_choose_it(sparse, tmp_path):
    model, proto = sparse
    spec = graph_spec("openvino", has_mixture=True)
    row, place, expert = contested(model)
    engine = engine_of(poisoned(proto, place, expert), tmp_path)
    for canvas in canvases():
        gates = reference_outputs(model, spec, canvas, RoutingControls(1))["gates"]
        assert equal_to(model, spec, engine, canvas) == (gates[0, row, expert] == 0)


@pytest.mark.heavy
def test_another_engine_skips_and_answers_alike(sparse, tmp_path):
    """ONNX Runtime runs the branches by other code; NaN in the expert that is skipped shows that it is."""
    model, proto = sparse
    spec = graph_spec("openvino", has_mixture=True)
    row, place, expert = contested(model)
    spoilt = poisoned(proto, place, expert)
    move_weights_into_branches(spoilt)  # as target onnx does
    other = onnxruntime(spoilt, tmp_path)
    for canvas in canvases():
        gates = reference_outputs(model, spec, canvas, RoutingControls(1))["gates"]
        assert equal_to(model, spec, other, canvas) == (gates[0, row, expert] == 0)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "layers", "widths", "lowest"),
    [
        ("modular-n", ["backbone.p3", "backbone.p4", "backbone.p5"], [2, 3, 4], 0),
        ("moehead-n", ["head.p3", "head.p4", "head.p5"], [2, 2, 2], 1),
    ],
)
def test_rows_padded_to_the_widest_layer_and_layers_of_the_head_pass_through_the_service(
    name, layers, widths, lowest, tmp_path, monkeypatch
):
    model = built(name)
    monkeypatch.setattr(build, "to_onnx", lambda model, spec: traced(name))
    images = tinted_scenes()[:2]
    (exported,) = export_model(
        model,
        tmp_path,
        "tiny",
        ExportImages(images, images),
        targets=["openvino"],
        options=ExportOptions(execution="sparse"),
        provenance=PROVENANCE,
    )
    manifest = manifest_of(exported)
    assert [row["layer"] for row in manifest["mixture"]] == layers
    assert [row["num_experts"] for row in manifest["mixture"]] == widths
    assert manifest["inputs"][1]["allowed"] == list(range(lowest, max(widths) + 1))
    asyncio.run(replay(read_artifact(exported.path)))


@pytest.mark.heavy
def test_a_pruned_model_is_exported_with_one_expert_in_a_layer_and_two_in_another(tmp_path):
    whole = built("odd")
    kept = {"backbone.p2": (1,), "backbone.p4": (0, 1), "neck.p5": (0,)}
    images = tinted_scenes()
    exported = export_model(
        drop_experts(whole, kept, top_k=1),
        tmp_path,
        "few",
        ExportImages(images, images),
        targets=["openvino", "npu"],
        options=ExportOptions(execution="sparse"),
        provenance=PROVENANCE,
    )
    for each, execution in zip(exported, ("sparse", "dense"), strict=True):
        manifest = manifest_of(each)
        assert manifest["execution"] == execution
        assert [row["num_experts"] for row in manifest["mixture"]] == [1, 2, 1]
        assert manifest["inputs"][1]["allowed"] == [1, 2]
        config = (each.path.parent / "config.pbtxt").read_text()
        assert "dims: [1, 3, 2]" in config
        asyncio.run(replay(read_artifact(each.path)))


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "target"),
    [("ultra-n", "tensorrt")],
)
def test_a_graph_that_computes_every_expert_equals_the_checkpoint_and_cannot_hide_poison(
    name, target, tmp_path
):
    model, spec = built(name), graph_spec(target, has_mixture=True)
    proto = to_onnx(model, spec)  # checks its operators
    top_ks = compared_top_ks(model.config, spec)
    measure_parity(model, spec, engine_of(proto, tmp_path), canvases(), top_ks).check()
    _, place, expert = contested(model)
    spoilt = engine_of(poisoned(proto, place, expert), tmp_path)
    single = replace(spec, max_batch=1)
    assert not any(equal_to(model, single, spoilt, canvas) for canvas in canvases()[:3])


@pytest.mark.parametrize("name", ["yolov12-n", *FAMILIES, "odd"])
def test_folding_leaves_no_batch_norm_behind_a_convolution_and_every_group_norm_and_the_same_answers(name):
    model = built(name)
    folded = fold_batch_norm(model)
    after_sums = sum(isinstance(layer.bn, nn.BatchNorm2d) for layer in model.mixture_layers().values())
    assert sum(isinstance(module, nn.BatchNorm2d) for module in folded.modules()) == after_sums
    groups = [sum(isinstance(m, nn.GroupNorm) for m in each.modules()) for each in (model, folded)]
    assert groups[0] == groups[1]
    images = diverse_images(2)
    with torch.inference_mode():
        before, after = (each(images, dispatch="dense") for each in (model, folded))
    assert (before.class_logits - after.class_logits).abs().max() < 1e-3
    for layer, routing in before.routings.items():
        assert (routing.probs - after.routings[layer].probs).abs().max() < 1e-4


def test_every_place_where_layers_run_out_of_experts_is_compared():
    names = ("disc", "ring")
    compared = {
        name: compared_top_ks(model_config(name, names, (64, 64)), graph_spec("openvino", True))
        for name in ("yolov12-n", "esmoe-n", "moehead-n", "sparsight-n", "modular-n")
    }
    assert compared == {
        "yolov12-n": [1],
        "esmoe-n": [1, 2, 4],
        "moehead-n": [1, 2, 4],
        "sparsight-n": [0, 1, 2, 4],
        "modular-n": [0, 1, 2, 4, 8, 16],
    }
