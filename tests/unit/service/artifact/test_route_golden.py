"""The answer of a route to the golden image is compared with the recorded one, and a difference raises."""

import json

import numpy as np
import pytest

from service.artifact.golden import Golden
from service.artifact.manifest import parse_manifest
from service.artifact.paths import PathRoute
from service.artifact.route_golden import RouteAnswer, read_route_answers
from service.artifact.tensors import OutputRow
from service.errors import ArtifactBroken, ArtifactMismatch
from tests.builders import golden_image, output_row
from tests.path_artifacts import path_manifest, route_answers, whole_answer

ROUTE = PathRoute(path=1, top_k=2, graph="path1-k2", gates=((1.0,),), probs=((1.0,),), gflops=1.0)
ROWS = {
    "boxes": ("boxes", "boxes_xyxy", [4, 4], (0.5, 0.0)),
    "scores": ("scores", "scores", [4], (0.01, 0.0)),
    "class_ids": ("class_ids", "class_ids", [4], (0.0, 0.0), "i32"),
    "class_scores": ("class_scores", "class_scores", [4, 2], (0.01, 0.0)),
    "angles": ("angles", "angles", [4], (0.01, 0.0)),
    "probabilities": ("probabilities", "probabilities", [6], (0.01, 0.0)),
}
BOXES = np.array([[0, 0, 10, 10], [20, 20, 30, 30], [0, 0, 12, 12], [40, 40, 50, 50]], np.float32)
SCORES = np.array([0.9, 0.5, 0.5, 0.001], np.float32)
IDS = np.array([0, 1, 0, 1], np.int32)
ANGLES = np.array([0.1, 0.2, 3.1, 0.0], np.float32)


def row(name):
    return OutputRow.model_validate_json(json.dumps(output_row(*ROWS[name])))


def selected(**changes):
    """Return the outputs of a graph that selects the boxes, by name, for one image."""
    outputs = {"boxes": BOXES, "scores": SCORES, "class_ids": IDS, "angles": ANGLES} | changes
    return {name: np.array(array)[None] for name, array in outputs.items()}


def answer(names, outputs, rows=(0, 1, 2)):
    rows = np.array(rows)
    stored = tuple((row(name), outputs[name][0][rows]) for name in names)
    return RouteAnswer(ROUTE, rows, stored, ())


OF_SELECTED = answer(("boxes", "scores", "class_ids", "angles"), selected())


def test_the_same_answer_and_the_same_boxes_in_another_order_agree():
    OF_SELECTED.check(selected())
    order = [0, 2, 1, 3]  # two boxes have the same score
    OF_SELECTED.check({name: array[:, order] for name, array in selected().items()})


def test_differences_within_the_tolerance_agree_and_an_angle_counts_half_a_turn():
    turned = ANGLES + np.array([0.009, np.pi, -np.pi, 0], np.float32)
    OF_SELECTED.check(selected(boxes=BOXES + 0.5, scores=SCORES - np.float32(0.009), angles=turned))


def with_value(array, place, value):
    changed = array.copy()
    changed[place] = value
    return changed


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        pytest.param(
            {"boxes": with_value(BOXES, (1, 2), 30.75)},
            r"golden sample: boxes \(path 1 at top_k 2\) differs by 0.75; the limit is 0.5",
            id="a box",
        ),
        pytest.param(
            {"scores": with_value(SCORES, 0, 0.88)}, "scores .* differs by 0.02; the limit", id="score"
        ),
        pytest.param({"class_ids": with_value(IDS, 0, 1)}, "scores .* differs by 0.4", id="class"),
        pytest.param({"class_ids": IDS * 0}, "class_ids .* differs by 1; the limit is 0", id="no such class"),
        pytest.param({"angles": with_value(ANGLES, 1, 0.22)}, "angles .* differs by 0.02", id="angle"),
        pytest.param({"scores": with_value(SCORES, 3, 0.7)}, "scores .* differs by 0.2", id="one too many"),
    ],
)  # fmt: skip
def test_a_difference_is_told_with_its_route_and_its_size(changes, sentence):
    with pytest.raises(ArtifactMismatch, match=sentence):
        OF_SELECTED.check(selected(**changes))


def test_every_image_of_a_batch_is_compared():
    right, wrong = selected(), selected(scores=SCORES / 2)
    together = {name: np.concatenate([right[name], wrong[name]]) for name in right}
    with pytest.raises(ArtifactMismatch, match="scores"):
        OF_SELECTED.check(together)


CLASS_SCORES = np.array([[0.1, 0.0], [0.0, 0.2], [0.8, 0.1], [0.0, 0.0]], np.float32)


def anchors(**changes):
    """Return the outputs of a graph that returns every anchor, by name, for one image."""
    outputs = {"boxes": BOXES, "class_scores": CLASS_SCORES} | changes
    return {name: np.array(array)[None] for name, array in outputs.items()}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, None),
        ({"boxes": with_value(BOXES, 0, 99)}, None),  # the anchor is not among the stored ones
        ({"boxes": with_value(BOXES, 2, 99)}, "boxes"),
        ({"class_scores": with_value(CLASS_SCORES, (2, 1), 0.2)}, "class_scores"),
        ({"class_scores": with_value(CLASS_SCORES, (0, 0), 0.7)}, "class_scores"),  # an anchor too many
    ],
)
def test_of_every_anchor_the_stored_rows_are_compared(changes, name):
    stored = answer(("boxes", "class_scores"), anchors(), rows=(2, 1))
    if name is None:
        stored.check(anchors(**changes))
    else:
        with pytest.raises(ArtifactMismatch, match=rf"{name} \(path 1 at top_k 2\)"):
            stored.check(anchors(**changes))


def test_of_other_outputs_the_stored_places_are_compared():
    values = np.array([[0.5, 0.1, 0.1, 0.1, 0.1, 0.1]], np.float32)
    places = np.array([0, 5])
    stored = RouteAnswer(
        ROUTE, np.zeros(0, np.int64), (), ((row("probabilities"), places, values[0, places]),)
    )
    stored.check({"probabilities": with_value(values, (0, 3), 0.9)})
    with pytest.raises(ArtifactMismatch, match=r"probabilities .* differs by 0.3"):
        stored.check({"probabilities": with_value(values, (0, 5), 0.4)})
    with pytest.raises(ArtifactMismatch, match=r"probabilities .* differs by nan"):
        stored.check({"probabilities": with_value(values, (0, 5), np.nan)})


# ---- the arrays of golden.npz --------------------------------------------------------------------------


def read(**changes):
    """Read the arrays of the artifact with paths of the tests; a change to None removes an array."""
    document = path_manifest("routed", "1", "openvino")
    document["files"] = {graph["file"]: "0" * 64 for graph in document["graphs"]}
    document["files"] |= {"golden.npz": "0" * 64, "routing.npz": "0" * 64}
    manifest = parse_manifest(json.dumps(document).encode(), "manifest.json")
    image = golden_image()
    arrays = {**whole_answer(image, 2), **route_answers(image), **changes}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    outputs = {row.name: arrays[row.name] for row in manifest.outputs}
    return read_route_answers(Golden(image, image[None], outputs, arrays, "golden.npz"), manifest)


def test_each_route_has_its_own_answer():
    answers = read()
    assert list(answers) == [(path, top_k) for path in range(3) for top_k in (1, 2)]
    full, half = whole_answer(golden_image(), 2), {**whole_answer(golden_image(), 1)}
    answers[0, 2].check({name: full[name] for name in ("boxes", "scores", "class_ids")})
    with pytest.raises(ArtifactMismatch, match=r"scores \(path 0 at top_k 2\)"):
        answers[0, 2].check({name: half[name] for name in ("boxes", "scores", "class_ids")})


def test_rows_after_the_last_one_of_a_route_are_not_compared():
    stored = route_answers(golden_image())
    wider = {name: np.repeat(array, 2, axis=1) for name, array in stored.items()}
    wider["routes_rows"][:, 1] = -1
    wider["routes_boxes"][:, 1] = 99
    assert [answer.rows.tolist() for answer in read(**wider).values()] == [[0]] * 6


def test_an_earlier_artifact_has_no_answers_of_routes():
    assert read(**dict.fromkeys(route_answers(golden_image()))) == {}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"routes_scores": None}, "golden.npz has no array 'routes_scores'"),
        ({"routes_rows": None}, "golden.npz has no array 'routes_rows'"),
        ({"routes_rows": np.full((6, 1), -1)}, "routes_rows must name rows from 0 to 3, then -1"),
        ({"routes_rows": np.full((6, 1), 4)}, "routes_rows must name rows from 0 to 3, then -1"),
        ({"routes_rows": np.zeros((6, 0), np.int32)}, "routes_rows must name rows"),
        ({"routes_rows": np.zeros(6, np.int32)}, r"routes_rows is int32 \(6,\), and must be num"),
        ({"routes_boxes": np.zeros((5, 1, 4))}, r"routes_boxes is .* and must be .* \(6, 1, 4\)"),
        ({"routes_boxes": np.full((6, 1, 4), "x")}, "routes_boxes is <U1"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_the_manifest_are_refused(changes, sentence):
    with pytest.raises(ArtifactBroken, match=sentence):
        read(**changes)
