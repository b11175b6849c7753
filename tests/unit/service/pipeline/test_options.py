"""Wishes are filled in from the model, or refused with what it can do."""

import pytest

from service.errors import InvalidParameter
from service.pipeline.options import Wishes, golden_options, resolve


def test_no_wishes_are_the_models_defaults(artifact):
    options = resolve(Wishes(), artifact.manifest)
    assert (options.conf, options.iou, options.max_det) == (0.25, 0.5, 100)
    assert (options.class_ids, options.top_k, options.weight_threshold) == (None, 2, 0.0)


def test_zero_is_a_wish(artifact):
    options = resolve(Wishes(conf=0.0, iou=0.0, weight_threshold=0.0), artifact.manifest)
    assert (options.conf, options.iou, options.weight_threshold) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("classes", "expected"), [("red", {0}), ("2", {2}), ("blue, 0", {0, 2}), ("red,red", {0})]
)
def test_classes_are_names_or_ids(artifact, classes, expected):
    assert resolve(Wishes(classes=classes), artifact.manifest).class_ids == expected


def test_a_name_that_looks_like_an_id_wins(artifact):
    manifest = artifact.manifest.model_copy(update={"class_names": ("1", "0")})
    assert resolve(Wishes(classes="1"), manifest).class_ids == {0}


@pytest.mark.parametrize("classes", ["", "cat", "3", "-1", "red,", "1e0", "\u0661", "9" * 5000])
def test_an_unknown_class_is_refused(artifact, classes):
    with pytest.raises(InvalidParameter, match="there is red, green, blue"):
        resolve(Wishes(classes=classes), artifact.manifest)


@pytest.mark.parametrize("top_k", [1, 4])
def test_the_ends_of_top_k_are_allowed(artifact, top_k):
    assert resolve(Wishes(top_k=top_k), artifact.manifest).top_k == top_k


@pytest.mark.parametrize("top_k", [0, 5])
def test_beyond_the_ends_top_k_is_refused(artifact, top_k):
    with pytest.raises(InvalidParameter, match="use one of: 1, 2, 3, 4"):
        resolve(Wishes(top_k=top_k), artifact.manifest)


def test_a_top_k_of_none_at_all_is_taken_at_its_word_where_it_is_allowed(artifact):
    spec = artifact.manifest.controls.top_k.model_copy(update={"allowed": (0, 1, 2)})
    controls = artifact.manifest.controls.model_copy(update={"top_k": spec})
    manifest = artifact.manifest.model_copy(update={"controls": controls})
    assert resolve(Wishes(top_k=0), manifest).top_k == 0
    assert resolve(Wishes(), manifest).top_k == 2


@pytest.mark.parametrize("wish", [{"top_k": 1}, {"weight_threshold": 0.5}])
def test_a_control_the_graph_lacks_is_refused(artifact, wish):
    controls = artifact.manifest.controls.model_copy(update={"top_k": None, "weight_threshold": None})
    manifest = artifact.manifest.model_copy(update={"controls": controls})
    assert resolve(Wishes(), manifest).top_k is None
    with pytest.raises(InvalidParameter, match="leave it out"):
        resolve(Wishes(**wish), manifest)


def test_the_golden_sample_has_its_own_confidence(artifact):
    golden = artifact.manifest.golden.model_copy(update={"conf": 0.1, "top_k": 3})
    options = golden_options(artifact.manifest.model_copy(update={"golden": golden}))
    assert (options.conf, options.top_k, options.iou) == (0.1, 3, 0.5)
