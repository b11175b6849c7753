"""The traced network has every expert and no local path; without experts, images are its only input."""

from pathlib import Path

import onnx
import pytest

from tests.training_builders import plain_model, shallow
from training.errors import ExportError
from training.export.contract.spec import GraphSpec
from training.export.graph.onnx_file import to_onnx
from training.export.proof.census import skippable_experts
from training.export.targets.build import ExportImages, Source, check_census
from training.export.targets.options import ExportOptions
from training.export.targets.targets import graph_spec
from training.models.detector import Detector
from training.models.variants import model_config

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def model():
    return plain_model(top_k=2)


@pytest.fixture(scope="module")
def sparse(model):
    return to_onnx(model, GraphSpec("sparse", "graph", candidates=50, branches="per_expert"))


def test_every_expert_of_the_checkpoint_can_be_skipped_in_the_sparse_graph(model, sparse):
    experts = sum(len(layer.experts) for layer in model.mixture_layers().values())
    assert experts == 8
    assert skippable_experts(sparse.SerializeToString()) == experts


def test_the_graph_names_no_file_of_the_machine_it_was_made_on(sparse):
    assert str(Path(__file__).resolve().parents[5]).encode() not in sparse.SerializeToString()
    assert b".py" not in sparse.SerializeToString()


def test_a_graph_that_lost_an_expert_is_refused(model, sparse):
    damaged = onnx.ModelProto()
    damaged.CopyFrom(sparse)
    branch = next(node for node in damaged.graph.node if node.op_type == "If")
    computing = max((each.g for each in branch.attribute), key=lambda graph: len(graph.node))
    for each in branch.attribute:
        each.g.CopyFrom(computing)
    source = Source(model, ExportOptions(), ExportImages([], []))
    with pytest.raises(ExportError, match=r"8 experts of the model can be skipped, .* can skip 7"):
        check_census(skippable_experts(damaged.SerializeToString()), GraphSpec("sparse", "graph"), source)


@pytest.mark.parametrize(
    ("target", "outputs"),
    [("npu", ["boxes", "class_scores"]), ("openvino", ["boxes", "scores", "class_ids"])],
)
def test_a_model_without_a_mixture_takes_images_alone(target, outputs):
    config = model_config("yolov12-n", ("disc", "ring"), (64, 64))
    proto = to_onnx(Detector(shallow(config)).eval(), graph_spec(target, has_mixture=False))
    assert [value.name for value in proto.graph.input] == ["images"]
    assert [value.name for value in proto.graph.output] == outputs
    onnx.checker.check_model(proto)
