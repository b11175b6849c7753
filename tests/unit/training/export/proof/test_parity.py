"""The comparison of answers whose candidates have no fixed order."""

from dataclasses import replace as replaced

import numpy as np
import pytest
import torch

from tests.training_builders import diverse_images, plain_model, reference_outputs, tiny_model
from training.errors import ExportError
from training.export.contract.precision import TOLERANCES, Tolerance
from training.export.contract.spec import GraphSpec
from training.export.graph.export_graph import Eager
from training.export.proof import parity
from training.export.proof.parity import Parity, answer_differences, measure_parity
from training.export.tasks.classify import CLASSIFY
from training.models.mixture.routing import RoutingControls

SPEC = GraphSpec("sparse", "graph", candidates=20)


class Replay:
    """Stands in for an engine: the checkpoint's own answer, changed by a test."""

    def __init__(self, model, change):
        self.model = model
        self.change = change

    def run(self, inputs):
        outputs = {name: value.copy() for name, value in Eager(self.model, SPEC).run(inputs).items()}
        self.change(outputs)
        return outputs


@pytest.fixture(scope="module")
def model():
    return tiny_model("yolov12-n")


@pytest.fixture(scope="module")
def canvas():
    torch.manual_seed(5)
    return diverse_images(1)[0].numpy()


def replace(outputs, row, score_change):
    """Put another candidate in a row, elsewhere in the image."""
    outputs["boxes"][0, row] += 7
    outputs["scores"][0, row] += score_change


def swap(outputs):
    for values in outputs.values():
        values[:, [0, 1]] = values[:, [1, 0]]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda outputs: None, id="the same"),
        pytest.param(swap, id="another order"),
        pytest.param(lambda outputs: replace(outputs, -1, 0), id="another last one with its score"),
        pytest.param(lambda outputs: replace(outputs, -1, 5e-5), id="another last one, within rounding"),
    ],
)
def test_rounding_may_change_the_order_and_who_is_last(model, canvas, change):
    scores = reference_outputs(model, SPEC, canvas, RoutingControls(1))["scores"][0]
    assert scores[-1] > 0.01, "the list must be full of likely ones for this to prove anything"
    assert scores[-2] - scores[-1] > 2e-4
    measure_parity(model, SPEC, Replay(model, change), [canvas], [1]).check()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda outputs: replace(outputs, 0, 0), id="another first one"),
        pytest.param(lambda outputs: replace(outputs, -1, 2e-4), id="another last one that is likelier"),
        pytest.param(lambda outputs: outputs["scores"].__imul__(1.01), id="all likelier"),
        pytest.param(lambda outputs: outputs["scores"].__imul__(0.99), id="all less likely"),
        pytest.param(lambda outputs: outputs["class_ids"].__iadd__(2), id="other classes"),
        pytest.param(lambda outputs: outputs["scores"].fill(np.nan), id="no numbers"),
    ],
)
def test_anything_else_is_refused(model, canvas, change):
    with pytest.raises(ExportError, match="differ from the checkpoint"):
        measure_parity(model, SPEC, Replay(model, change), [canvas], [1]).check()


def test_an_image_on_which_routers_are_tied_is_left_out_and_only_such_images_prove_nothing(canvas):
    model = plain_model()
    spec = GraphSpec("dense", "service")

    proved = measure_parity(model, spec, Eager(model, spec), [canvas], [1, 2])
    proved.check()
    assert proved.unproved() == []
    with torch.no_grad():
        for layer in model.mixture_layers().values():
            layer.router.score.weight.zero_()
            layer.router.score.bias.zero_()
    found = measure_parity(model, spec, Eager(model, spec), [canvas], [1, 2])
    found.check()
    tie = "at top_k=1 the routers are within 1e-05 of a tie on every image"
    assert found.unproved()[0].startswith(tie)


class Forgetful:
    """An engine that for some images chooses other experts, and answers whatever with those."""

    def __init__(self, model, spec, wrong):
        self.model, self.spec, self.wrong, self.calls = model, spec, wrong, 0

    def run(self, inputs):
        outputs = Eager(self.model, self.spec).run(inputs)
        self.calls += 1
        if self.calls in self.wrong:
            outputs["gates"] = outputs["gates"][:, :, ::-1].copy()  # of two experts, the other
            outputs["boxes"] = outputs["boxes"] + 100
        return outputs


@pytest.mark.parametrize(
    ("wrong", "share"),
    [
        pytest.param((), 1.0, id="none"),
        pytest.param((2,), 0.75, id="all four layers on the second of four images"),
        pytest.param((1, 2, 3, 4), 0.0, id="all: nothing is left to compare"),
    ],
)
def test_outputs_count_where_every_layer_chose_alike_and_how_often_that_is_decides_by_itself(wrong, share):
    model, spec = plain_model(), GraphSpec("dense", "service")
    canvases = [image.numpy() for image in diverse_images(4)]
    one_top_k = [RoutingControls(1)]
    engine = Forgetful(model, spec, wrong)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "compared_controls", lambda *_: one_top_k)
        found = measure_parity(model, spec, engine, canvases, [1], tolerance=TOLERANCES["bf16"])
    assert found.expert_sets == share
    assert found.differences["boxes_xyxy"] == 0
    if share == 1:
        found.check()
    else:
        with pytest.raises(ExportError, match=rf"experts in {share:.1%} of cases"):
            found.check()


def test_an_output_that_is_no_number_counts_whoever_was_chosen():
    model, spec = plain_model(), GraphSpec("dense", "service")

    class Broken(Forgetful):
        def run(self, inputs):
            outputs = super().run(inputs)
            return outputs | {"class_scores": outputs["class_scores"] * np.float32(np.nan)}

    canvases = [image.numpy() for image in diverse_images(1)]
    found = measure_parity(model, spec, Broken(model, spec, (1,)), canvases, [1])
    assert list(found.differences) == ["boxes_xyxy", "class_scores", "gates", "router_probs"]
    assert np.isnan(list(found.differences.values())).all()


@pytest.mark.parametrize(("weight", "same"), [(1e-40, True), (9e-6, True), (2e-5, False)])
def test_an_expert_whose_weight_is_lost_in_rounding_makes_no_other_set(canvas, weight, same):
    model, spec = plain_model(top_k=2), GraphSpec("dense", "service")
    outputs = reference_outputs(model, spec, canvas, RoutingControls(2))

    def with_weight(value):
        gates = outputs["gates"].copy()
        gates[0, 0] = (1, value)
        return outputs | {"gates": gates}

    class Underflow:
        """One expert's probability vanishes in the engine."""

        def run(self, inputs):
            return with_weight(0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Eager, "answer", lambda *_: with_weight(weight))
        patch.setattr(parity, "compared_controls", lambda *_: [RoutingControls(2)])
        found = measure_parity(model, spec, Underflow(), [canvas], [2])
    assert found.expert_sets == (None if same else 0)


def test_a_comparison_of_no_box_at_all_proves_nothing(model, canvas):
    coarse = Tolerance(boxes_px=8, boxes_relative=0, scores=0.99, gates=1)
    found = measure_parity(model, SPEC, Replay(model, swap), [canvas], [1], tolerance=coarse)
    assert found.compared_boxes == 0
    assert found.unproved() == ["nothing in the images scores enough for its box to be compared"]


def test_of_two_comparisons_the_worse_counts():
    nan = float("nan")
    one = Parity(1, 1, {"boxes": 0.5, "gates": nan}, {"boxes": 0.1, "gates": 0.2}, {}, expert_sets=0.9)
    other = Parity(1, 1, {"boxes": 0.4, "gates": 0.1}, {"boxes": 0.3, "gates": nan}, {}, expert_sets=0.95)
    one, other = replaced(one, compared_boxes=10), replaced(other, compared_boxes=7, undecided_top_k=2)
    worse = one.worse_of(other)
    assert (worse.differences["boxes"], worse.excess["boxes"]) == (0.5, 0.3)
    assert np.isnan([worse.differences["gates"], worse.excess["gates"]]).all()
    assert (worse.expert_sets, worse.compared_boxes, worse.undecided_top_k) == (0.9, 7, 2)


def test_an_output_that_its_task_does_not_compare_is_compared_number_by_number():
    want = {"probabilities": np.array([[0.25, 0.75]], np.float32), "heat": np.array([[1.0, 2.0]], np.float32)}
    got = {**want, "heat": np.array([[1.0, 2.5]], np.float32)}
    found = answer_differences(CLASSIFY, want, got, TOLERANCES["f32"])
    assert {role: each.largest for role, each in found.items()} == {"probabilities": 0.0, "heat": 0.5}
