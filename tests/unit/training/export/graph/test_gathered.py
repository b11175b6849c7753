"""Fixed-batch graphs that gather the chosen experts' weights for each image at run time."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from tests.training_builders import conditioned, reference_outputs, shallow
from tests.unit.training.export.engines import ENGINES, ask, canvases, poisoned, run_in
from tests.unit.training.export.rtx import builds_a_plan
from training.config import MixtureConfig
from training.export.contract.precision import TOLERANCES
from training.export.contract.spec import GraphSpec
from training.export.graph.export_graph import graph_contract
from training.export.graph.onnx_file import TENSORRT_OPERATORS, to_onnx
from training.export.proof.parity import answer_differences
from training.export.tasks.detect import DETECT
from training.models.mixture.routing import RoutingControls
from training.models.variants import model_config

LIGHT = MixtureConfig(num_experts=3, kernel_sizes=(3, 5, 7))
FULL = MixtureConfig(
    num_experts=4, expert="simple", kernel_sizes=(3,) * 4, shared_kernel=1, residual=True, expert_ratio=0.5
)
LAYERS = {"backbone.p3": LIGHT, "backbone.p5": replace(FULL, activate=False)}
BATCHES = (1, 4)


@functools.cache
def model():
    """Light experts of growing kernels after one stage, full ones beside a shared one after another."""
    config = model_config("esmoe-n", ("disc", "ring"), (64, 64))
    return conditioned(replace(shallow(config), mixtures=LAYERS))


def spec(batch):
    return GraphSpec("sparse", "graph", candidates=50, fixed_batch=batch)


@functools.cache
def traced(batch):
    """One trace for all tests of a batch."""
    return to_onnx(model(), spec(batch))


def controls(batch):
    """Other ones for each image."""
    every = [RoutingControls(2), RoutingControls(1), RoutingControls(2, 0.3), RoutingControls(2)]
    return every[:batch]


def rounds(batch):
    """All images, each in every row of a batch, beside others."""
    images = canvases(4)
    return [[images[(first + row) % len(images)] for row in range(batch)] for first in range(len(images))]


def excess(canvas, each, outputs, row):
    """How far a row of a batch is from what the checkpoint makes of its image alone, in tolerances."""
    contract = graph_contract(model().config, spec(4))
    wanted = contract.by_role(reference_outputs(model(), spec(4), canvas, each))
    got = contract.by_role(outputs, slice(row, row + 1))
    found = answer_differences(DETECT, wanted, got, TOLERANCES["f32"])
    limits = {each.role: each.absolute for each in contract.outputs}
    return np.max([difference.excess / limits[role] for role, difference in found.items()])


@pytest.mark.heavy
@pytest.mark.parametrize("batch", BATCHES)
def test_its_sizes_are_fixed_and_it_branches_nowhere(batch):
    graph = traced(batch).graph
    assert {node.op_type for node in graph.node} <= TENSORRT_OPERATORS
    for value in (*graph.input, *graph.output):
        first, *others = (size.dim_value for size in value.type.tensor_type.shape.dim)
        assert first == batch, value.name
        assert all(others), value.name


@pytest.mark.heavy
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch", BATCHES)
def test_every_image_of_a_batch_gets_what_the_checkpoint_makes_of_it_alone(batch, engine, tmp_path):
    runs = run_in(engine, traced(batch), tmp_path)
    chosen = set()
    for images in rounds(batch):
        outputs = ask(runs, images, controls(batch))
        chosen |= {row.tobytes() for row in outputs["gates"] > 0}
        for row, (canvas, each) in enumerate(zip(images, controls(batch), strict=True)):
            assert excess(canvas, each, outputs, row) <= 1, f"row {row}"
    assert len(chosen) > 1, "the images must route differently"


@pytest.mark.heavy
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("place", LAYERS)
def test_a_poisoned_expert_spoils_only_the_images_of_a_batch_that_choose_it(place, engine, tmp_path):
    images = canvases(4)
    experts = [reference_outputs(model(), spec(4), each, RoutingControls(1))["gates"][0] for each in images]
    row_of_layer = list(LAYERS).index(place)
    share = np.mean([gates[row_of_layer] > 0 for gates in experts], axis=0)
    expert = int(np.flatnonzero((share > 0) & (share < 1))[0])
    runs = run_in(engine, poisoned(traced(4), place, expert), tmp_path)
    outputs = ask(runs, images, [RoutingControls(1)] * 4)
    for row, canvas in enumerate(images):
        spared = excess(canvas, RoutingControls(1), outputs, row) <= 1
        assert spared == (experts[row][row_of_layer, expert] == 0), f"row {row}"


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore:.*[Tt]iming cache:DeprecationWarning")  # TensorRT-RTX keeps none
def test_a_builder_of_tensorrt_takes_it(tmp_path):
    builds_a_plan(traced(4), tmp_path, batch=[4], precision="f32")
