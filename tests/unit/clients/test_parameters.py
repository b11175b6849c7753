"""Parameters are checked against the model before anything is sent."""

from dataclasses import replace

import numpy as np
import pytest

from clients.errors import BadParameter
from clients.parameters import Wishes, resolve


def test_what_is_left_out_is_the_models_default(manifest):
    options = resolve(Wishes(), manifest)
    assert (options.conf, options.iou, options.max_det) == (0.25, 0.5, 100)
    assert (options.top_k, options.weight_threshold, options.class_ids) == (2, 0.0, None)


@pytest.mark.parametrize("name", ["conf", "iou", "weight_threshold"])
@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, np.float32(0.5)])
def test_a_share_is_from_0_to_1(manifest, name, value):
    assert getattr(resolve(Wishes(**{name: value}), manifest), name) == value


@pytest.mark.parametrize("name", ["conf", "iou", "weight_threshold"])
@pytest.mark.parametrize("value", [-1e-9, 1.0000001, float("nan"), float("inf"), True, "0.5"])
def test_what_is_no_share_is_named_and_refused(manifest, name, value):
    with pytest.raises(BadParameter, match=f"{name}=.*from 0 to 1") as refused:
        resolve(Wishes(**{name: value}), manifest)
    assert refused.value.parameter == name


@pytest.mark.parametrize("value", [1, 10_000, np.int64(7)])
def test_max_det_is_from_1_to_10000(manifest, value):
    assert resolve(Wishes(max_det=value), manifest).max_det == value


@pytest.mark.parametrize("value", [0, 10_001, -1, 1.0, True, "1"])
def test_another_max_det_is_refused(manifest, value):
    with pytest.raises(BadParameter, match="from 1 to 10000"):
        resolve(Wishes(max_det=value), manifest)


@pytest.mark.parametrize("value", [1, 4])
def test_top_k_is_one_that_the_model_allows(manifest, value):
    assert resolve(Wishes(top_k=value), manifest).top_k == value


@pytest.mark.parametrize("value", [0, 5, 2.0, True, "2"])
def test_another_top_k_is_refused(manifest, value):
    with pytest.raises(BadParameter, match="use one of: 1, 2, 3, 4"):
        resolve(Wishes(top_k=value), manifest)


def test_a_top_k_of_none_at_all_is_taken_at_its_word_where_it_is_allowed(manifest):
    sharing = replace(manifest, allowed_top_k=(0, 1, 2))
    assert resolve(Wishes(top_k=0), sharing).top_k == 0
    assert resolve(Wishes(), sharing).top_k == 2


def test_a_model_without_experts_has_no_controls(manifest):
    plain = replace(manifest, top_k=None, allowed_top_k=(), weight_threshold=None)
    options = resolve(Wishes(), plain)
    assert (options.top_k, options.weight_threshold) == (None, None)
    with pytest.raises(BadParameter, match="has no top_k; leave it out"):
        resolve(Wishes(top_k=1), plain)
    with pytest.raises(BadParameter, match="has no weight_threshold; leave it out"):
        resolve(Wishes(weight_threshold=0.1), plain)


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
def test_classes_are_names_or_ids(manifest, classes, ids):
    assert resolve(Wishes(classes=classes), manifest).class_ids == ids


@pytest.mark.parametrize("wrong", ["rad", "", "3", 3, -1, "-1", "²", 1.0, True, "9" * 5000])
def test_another_class_is_refused_and_the_right_ones_are_named(manifest, wrong):
    with pytest.raises(BadParameter, match="there is red, green, blue"):
        resolve(Wishes(classes=["red", wrong]), manifest)


def test_no_classes_at_all_is_a_mistake(manifest):
    with pytest.raises(BadParameter, match="leave it out for all"):
        resolve(Wishes(classes=[]), manifest)


def test_a_class_may_have_a_number_for_a_name(manifest):
    numbered = replace(manifest, class_names=("7", "1", "0"))
    assert resolve(Wishes(classes=["0"]), numbered).class_ids == {2}
    assert resolve(Wishes(classes=[0]), numbered).class_ids == {0}


def test_of_many_classes_only_the_first_are_named(manifest):
    many = replace(manifest, class_names=tuple(f"c{i}" for i in range(21)))
    with pytest.raises(BadParameter, match=r"c19, …$"):
        resolve(Wishes(classes=["x"]), many)
