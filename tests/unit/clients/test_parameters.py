"""Parameters are checked against the model before anything is sent."""

from dataclasses import replace

import numpy as np
import pytest

from clients.errors import BadParameter
from clients.manifest import newest_manifest
from clients.parameters import class_ids, resolve_controls
from clients.tasks.detect import DetectParams
from tests.unit.clients.conftest import parameters_of

IMAGE = np.zeros((8, 8, 3), np.uint8)
NAMES = ("red", "green", "blue")


def ask(manifest, **asked):
    return DetectParams(**asked).ask(IMAGE, manifest)


def test_what_is_left_out_is_the_models_default(manifest):
    question = ask(manifest)
    assert (question.conf, question.iou, question.max_det, question.class_ids) == (0.25, 0.5, 100, None)
    assert question.controls == {"top_k": 2, "weight_threshold": 0.0}


@pytest.mark.parametrize("name", ["conf", "iou"])
@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, np.float32(0.5)])
def test_a_share_is_from_0_to_1(manifest, name, value):
    assert getattr(ask(manifest, **{name: value}), name) == value


@pytest.mark.parametrize("name", ["conf", "iou"])
@pytest.mark.parametrize("value", [-1e-9, 1.0000001, float("nan"), float("inf"), True, "half"])
def test_what_is_no_share_is_named_and_refused(manifest, name, value):
    with pytest.raises(BadParameter, match=f"{name}=.*from 0 to 1") as refused:
        ask(manifest, **{name: value})
    assert refused.value.parameter == name


@pytest.mark.parametrize("value", [1, 10_000, np.int64(7)])
def test_max_det_is_from_1_to_10000(manifest, value):
    assert ask(manifest, max_det=value).max_det == value


@pytest.mark.parametrize("value", [0, 10_001, -1, 1.0, True, "1"])
def test_another_max_det_is_refused(manifest, value):
    with pytest.raises(BadParameter, match="from 1 to 10000"):
        ask(manifest, max_det=value)


# ---- controls -------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1, 4, np.int64(3)])
def test_a_listed_control_takes_what_the_model_allows(manifest, value):
    assert resolve_controls({"top_k": value}, manifest)["top_k"] == value


@pytest.mark.parametrize("value", [0, 5, 2.0, True, "2"])
def test_a_listed_control_takes_nothing_else(manifest, value):
    with pytest.raises(BadParameter, match="use one of: 1, 2, 3, 4") as refused:
        resolve_controls({"top_k": value}, manifest)
    assert refused.value.parameter == "top_k"


def test_a_number_of_none_at_all_is_taken_at_its_word_where_it_is_allowed(document):
    document["inputs"][1]["allowed"] = [0, 1, 2]
    sharing = newest_manifest(parameters_of(document), "tiny-openvino")
    assert resolve_controls({"top_k": 0}, sharing)["top_k"] == 0
    assert resolve_controls({}, sharing)["top_k"] == 2


@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, np.float32(0.5)])
def test_a_ranged_control_takes_what_is_in_its_range(manifest, value):
    assert resolve_controls({"weight_threshold": value}, manifest)["weight_threshold"] == value


@pytest.mark.parametrize("value", [-1e-9, 1.0000001, float("nan"), float("inf"), True, "0.5"])
def test_a_ranged_control_takes_nothing_else(manifest, value):
    with pytest.raises(BadParameter, match=r"weight_threshold=.*from 0 to 1"):
        resolve_controls({"weight_threshold": value}, manifest)


def test_a_range_is_the_models_own(document):
    document["inputs"][2] |= {"range": [-2, 0.5], "default": 0}
    other = newest_manifest(parameters_of(document), "tiny-openvino")
    assert resolve_controls({"weight_threshold": -2}, other)["weight_threshold"] == -2
    with pytest.raises(BadParameter, match=r"from -2 to 0\.5"):
        resolve_controls({"weight_threshold": 0.6}, other)


def test_a_control_that_the_model_does_not_have_is_refused(manifest):
    with pytest.raises(BadParameter, match="has no heat; it has top_k, weight_threshold"):
        resolve_controls({"heat": 1}, manifest)
    plain = replace(manifest, controls={})
    assert resolve_controls({}, plain) == {}
    with pytest.raises(BadParameter, match="has no top_k; leave it out"):
        resolve_controls({"top_k": 1}, plain)


# ---- classes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "ids"),
    [
        (["red"], {0}),
        ("blue", {2}),
        (["red", 2], {0, 2}),
        (["1"], {1}),
        (1, {1}),
        ((0, "red"), {0}),
        (np.array([0, 2]).tolist(), {0, 2}),
    ],
)
def test_classes_are_names_or_ids(classes, ids):
    assert class_ids(classes, NAMES) == ids


@pytest.mark.parametrize("wrong", ["rad", "", "3", 3, -1, "-1", "²", 1.0, True, "9" * 5000])
def test_another_class_is_refused_and_the_right_ones_are_named(wrong):
    with pytest.raises(BadParameter, match="the classes are red, green, blue"):
        class_ids(["red", wrong], NAMES)


def test_no_classes_at_all_is_a_mistake():
    with pytest.raises(BadParameter, match="leave it out to report all"):
        class_ids([], NAMES)


def test_a_class_may_have_a_number_for_a_name():
    assert class_ids(["0"], ("7", "1", "0")) == {2}
    assert class_ids([0], ("7", "1", "0")) == {0}


def test_of_many_classes_only_the_first_are_named():
    with pytest.raises(BadParameter, match=r"c19, …$"):
        class_ids(["x"], tuple(f"c{i}" for i in range(21)))
