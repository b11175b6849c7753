"""What is measured of the paths of a network: bits, shares, dependence, dead paths, and their experts."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.training_builders import mean_ap, tiny_model
from training.data.evaluation import Truth
from training.data.open import open_dataset
from training.data_config import ScenesConfig
from training.evaluate.dependence import Dependence
from training.evaluate.evaluator import Evaluation
from training.evaluate.expert_use import LayerUse
from training.evaluate.report import evaluation_json, expert_lines
from training.evaluate.routed import RoutedImages, RoutedPaths, route_images
from training.evaluate.routing_report import LayerRouting, PathRouting, report_routing
from training.lab.tables.paths import path_json, path_lines
from training.models.cost import Cost
from training.tasks.detect import DETECT

COST = Cost(dense=16.0, experts={"p4": (1.0, 2.0, 3.0, 4.0)})
TABLE = np.array(
    [[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.2, 0.1, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]], np.float32
)


def scenes(images):
    return open_dataset(ScenesConfig(images=images, image_hw=(64, 64)))


def planted(probs, layer="p4"):
    """Return images with these probabilities of four paths; their gates are those of the path at top_k 2."""
    paths = RoutedPaths(np.array(probs, np.float32), {layer: TABLE})
    gates = np.zeros((len(probs), 4), np.float32)
    np.put_along_axis(gates, paths.ranked(layer)[paths.taken][:, :2], 0.5, axis=1)
    truths = tuple(
        Truth(np.zeros((boxes, 4), np.float32), np.zeros(boxes, np.int64), (64, 64), "")
        for boxes in range(len(probs))
    )
    return RoutedImages(truths, {layer: gates}, {layer: TABLE[paths.taken]}, paths)


BY_ORIGIN = np.eye(4)[np.arange(60) % 3]  # generated scenes take turns


def test_a_router_that_knows_the_origin_is_found_out():
    report = report_routing(planted(BY_ORIGIN), scenes(60), COST, permutations=1000)
    choice = report.path.choice
    assert choice.use.information_bits == pytest.approx(np.log2(3))
    assert choice.use.expert_share == pytest.approx((1 / 3, 1 / 3, 1 / 3, 0))
    assert choice.use.dead_experts == (3,)
    assert choice.by_grouping["origin"] == Dependence(
        pytest.approx(1), 1 / 1001, pytest.approx(0.03, abs=0.03)
    )
    assert choice.by_grouping["density"].nmi < 0.1
    assert [goal.met for goal in report.goals[:3]] == [True, False, True]
    assert [goal.what for goal in report.goals[:3]] == [
        "at least 1.5 bit in the path",
        "every path taken by some image",
        "NMI of path and origin at least 0.3, p < 0.01",
    ]


def test_a_router_that_always_takes_one_path_has_no_bits_and_no_dependence():
    report = report_routing(planted([[0.4, 0.2, 0.2, 0.2]] * 12), scenes(12), COST, permutations=100)
    use = report.path.choice.use
    assert (use.information_bits, use.dead_experts) == (0, (1, 2, 3))
    assert report.path.choice.by_grouping["origin"] == Dependence(0, 1, 0)
    assert [goal.met for goal in report.goals[:3]] == [False, False, False]


def path_of(bits=2.0, nmi=0.5, p_value=0.001, shares=(0.5, 0.25, 0.125, 0.125), origin=True):
    found = {"density": Dependence(0.0, 1.0, 0.0)}
    if origin:
        found["origin"] = Dependence(nmi, p_value, 0.1)
    use = LayerUse("path", bits, shares, shares, 4, 0.5, 1.0)
    return PathRouting(LayerRouting(use, found), RoutedPaths(np.eye(4, dtype=np.float32), {"p4": TABLE}))


@pytest.mark.parametrize(
    ("path", "met"),
    [
        pytest.param(path_of(bits=1.5, nmi=0.3, p_value=0.0099), [True, True, True], id="all at the limit"),
        pytest.param(path_of(bits=1.499), [False, True, True], id="too few bits"),
        pytest.param(path_of(nmi=0.299), [True, True, False], id="too little in common"),
        pytest.param(path_of(p_value=0.01), [True, True, False], id="may be chance"),
        pytest.param(path_of(shares=(0.5, 0.25, 0.25, 0.0)), [True, False, True], id="a dead path"),
        pytest.param(path_of(origin=False), [True, True], id="one origin"),
    ],
)
def test_goals_at_their_limits(path, met):
    assert [goal.met for goal in path.goals] == met


def test_a_network_without_paths_has_no_goals_for_them():
    routed = replace(planted(BY_ORIGIN), paths=None)
    report = report_routing(routed, scenes(60), COST, permutations=10)
    assert report.path is None
    assert len(report.goals) == 4


def test_paths_are_different_if_other_experts_run():
    paths = path_of().paths
    assert paths.ranked("p4").tolist() == [[3, 2, 1, 0], [0, 1, 2, 3], [3, 2, 0, 1], [0, 1, 2, 3]]
    assert [paths.distinct(top_k) for top_k in (1, 2, 3, 4)] == [2, 2, 3, 1]
    other = RoutedPaths(paths.probs, {"p4": TABLE, "p5": np.eye(4, dtype=np.float32)})
    assert other.distinct(1) == 4, "in one layer is enough"


def test_the_path_of_an_image_is_the_first_of_the_most_probable():
    paths = RoutedPaths(np.array([[0.2, 0.4, 0.4, 0.0], [0.1, 0.2, 0.3, 0.4]], np.float32), {"p4": TABLE})
    assert paths.taken.tolist() == [1, 3]
    assert paths.use.expert_share == (0, 0.5, 0, 0.5)


def test_the_table_of_paths_names_shares_experts_and_dead_paths():
    path = path_of(shares=(0.5, 0.25, 0.25, 0.0))
    lines = path_lines(path, ["origin", "density"])
    assert lines[0] == "path: 2.000 bit in the choice among 4"
    assert "  NMI with origin: 0.50 (by chance 0.10), p 0.0010" in lines
    assert "  paths with different experts: 2 at top_k 1, 2 at top_k 2, 3 at top_k 3" in lines
    assert [line.split() for line in lines[-4:]] == [
        ["0", "50%", "3", "2", "1", "0"],
        ["1", "25%", "0", "1", "2", "3"],
        ["2", "25%", "3", "2", "0", "1"],
        ["3", "DEAD", "0", "1", "2", "3"],
    ]
    said = json.loads(json.dumps(path_json(path)))
    assert (said["share"], said["dead"], said["information_bits"]) == ([0.5, 0.25, 0.25, 0.0], [3], 2.0)
    assert said["table"][0]["p4"]["experts"] == [3, 2, 1, 0]
    assert said["table"][0]["p4"]["probabilities"] == pytest.approx(TABLE[0].tolist())
    assert said["dependence"]["origin"]["nmi"] == 0.5


def test_images_are_routed_with_the_path_that_the_network_takes():
    model = tiny_model("sparsight-path-n")
    one, three = (route_images(model, scenes(4), batch_size=size) for size in (1, 3))
    np.testing.assert_allclose(three.paths.probs, one.paths.probs, atol=1e-5)
    assert one.paths.probs.shape == (4, 8)
    assert list(one.paths.table) == list(one.gates) == list(model.mixture_layers())
    for layer, probs in one.probs.items():
        np.testing.assert_allclose(probs, one.paths.table[layer][one.paths.taken], atol=1e-6)
        ran = one.paths.ranked(layer)[one.paths.taken][:, : model.config.top_k]
        assert (np.take_along_axis(one.gates[layer], ran, axis=1) > 0).all()
    assert route_images(tiny_model("sparsight-n"), scenes(1)).paths is None


def test_the_record_and_the_sentence_of_a_validation_name_the_path():
    result = Evaluation(routed=planted(BY_ORIGIN[:6]), mean_ap=mean_ap(0.25, 0.5, 0.3))
    scores = DETECT.scores(result, scenes(6))
    found = {name: value for name, value in scores.items() if name.startswith("path ")}
    assert found == {
        "path bits": pytest.approx(np.log2(3)),
        "path dead": 1,
        "path nmi origin": pytest.approx(1),
        "path nmi density": pytest.approx(0.37, abs=0.01),
    }
    sentence = DETECT.sentence(scores)
    assert (
        "; paths: 1.58 bit, 1 dead path, NMI with origin 1.00, NMI with density 0.37; routing: " in sentence
    )


def test_an_evaluation_says_the_path_before_its_layers():
    result = Evaluation(routed=planted(BY_ORIGIN), mean_ap=mean_ap(0.25, 0.5, 0.3))
    lines = expert_lines(result.experts, result.paths)
    assert lines[0] == "  path: 1.585 bit, taken  33%   33%   33%    0%; DEAD: 3"
    assert lines[1].startswith("  p4: ")
    said = json.loads(evaluation_json(result.mean_ap, result))
    assert said["paths"]["dead"] == [3]
    assert said["paths"]["share"] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    without = Evaluation(routed=replace(result.routed, paths=None), mean_ap=result.mean_ap)
    assert "paths" not in json.loads(evaluation_json(without.mean_ap, without))
    assert expert_lines(without.experts, without.paths) == lines[1:]
