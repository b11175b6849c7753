"""Request parameters get the model's defaults; values outside the model's limits are refused."""

import pytest

from service.artifact.tensors import ControlInput
from service.errors import InvalidParameter
from service.request import DetectParams
from service.tasks.resolve import golden_params, resolve


def with_controls(manifest, *rows):
    return manifest.model_copy(update={"inputs": (manifest.images, *rows)})


def control(name, **takes):
    return ControlInput(name=name, dtype="f32", dims=("B", 1), role="control", **takes)


def test_nothing_asked_for_is_the_models_defaults(artifact):
    resolved = resolve(DetectParams(), artifact.manifest)
    assert resolved.values == {"conf": 0.25, "iou": 0.5, "max_det": 100}
    assert resolved.controls == {"top_k": 2, "weight_threshold": 0.0}
    assert resolved.class_ids is None


def test_zero_is_asked_for(artifact):
    params = DetectParams(values={"conf": 0.0, "iou": 0.0}, controls={"weight_threshold": 0.0})
    resolved = resolve(params, artifact.manifest)
    assert (resolved.values["conf"], resolved.values["iou"]) == (0.0, 0.0)
    assert resolved.controls["weight_threshold"] == 0.0


@pytest.mark.parametrize(
    ("classes", "expected"), [("red", {0}), ("2", {2}), ("blue, 0", {0, 2}), ("red,red", {0})]
)
def test_classes_are_names_or_ids(artifact, classes, expected):
    assert resolve(DetectParams(classes=classes), artifact.manifest).class_ids == expected


def test_a_name_that_looks_like_an_id_wins(artifact):
    manifest = artifact.manifest.model_copy(update={"class_names": ("1", "0")})
    assert resolve(DetectParams(classes="1"), manifest).class_ids == {0}


@pytest.mark.parametrize("classes", ["", "cat", "3", "-1", "red,", "1e0", "\u0661", "9" * 5000])
def test_an_unknown_class_is_refused(artifact, classes):
    with pytest.raises(InvalidParameter, match="the classes are red, green, blue"):
        resolve(DetectParams(classes=classes), artifact.manifest)


@pytest.mark.parametrize("top_k", [1, 4, "1", "4"])
def test_the_ends_of_top_k_are_allowed_as_number_and_as_text(artifact, top_k):
    resolved = resolve(DetectParams(controls={"top_k": top_k}), artifact.manifest)
    assert resolved.controls["top_k"] == int(top_k)


@pytest.mark.parametrize("top_k", [0, 5, "0", "5", "two", "1.5", "", 1.9, float("inf"), float("nan")])
def test_beyond_the_ends_top_k_is_refused(artifact, top_k):
    with pytest.raises(InvalidParameter, match="is not allowed; use one of: 1, 2, 3, 4"):
        resolve(DetectParams(controls={"top_k": top_k}), artifact.manifest)


def test_a_top_k_of_none_at_all_is_taken_at_its_word_where_it_is_allowed(artifact):
    manifest = with_controls(artifact.manifest, control("top_k", allowed=(0, 1, 2), default=2))
    assert resolve(DetectParams(controls={"top_k": 0}), manifest).controls == {"top_k": 0}
    assert resolve(DetectParams(), manifest).controls == {"top_k": 2}


@pytest.mark.parametrize(("value", "number"), [("0.5", 0.5), (2, 2.0), ("-1", -1.0), (-1, -1.0)])
def test_a_control_that_nobody_has_heard_of_is_a_number_in_its_range(artifact, value, number):
    manifest = with_controls(artifact.manifest, control("warmth", range=(-1.0, 2.0), default=0.5))
    assert resolve(DetectParams(controls={"warmth": value}), manifest).controls == {"warmth": number}


@pytest.mark.parametrize("value", ["-1.01", 2.01, "nan", "inf", "hot", ""])
def test_a_control_outside_its_range_is_refused(artifact, value):
    manifest = with_controls(artifact.manifest, control("warmth", range=(-1.0, 2.0), default=0.5))
    with pytest.raises(InvalidParameter, match="is not allowed; use a number from -1 to 2"):
        resolve(DetectParams(controls={"warmth": value}), manifest)


@pytest.mark.parametrize("name", ["top_k", "weight_threshold", "warmth"])
def test_a_control_the_graph_lacks_is_refused(artifact, name):
    manifest = with_controls(artifact.manifest)
    assert resolve(DetectParams(), manifest).controls == {}
    with pytest.raises(InvalidParameter, match=f"model 'tiny' has no {name}; leave it out") as raised:
        resolve(DetectParams(controls={name: 1}), manifest)
    assert raised.value.parameter == name


def test_a_parameter_of_another_task_is_refused_with_those_that_there_are(artifact, classifier):
    with pytest.raises(
        InvalidParameter, match=r"top is not a parameter of.*detect; .*use: conf, iou, max_det, agnostic_nms"
    ):
        resolve(DetectParams(values={"top": 3}), artifact.manifest)
    for name in ("conf", "iou", "max_det"):
        with pytest.raises(InvalidParameter, match=f"{name} is not a parameter of.*classify; .*use: top"):
            resolve(DetectParams(values={name: 1}), classifier.manifest)
    for name, params in (
        ("conf", DetectParams(class_conf={"red": 0.5})),
        ("agnostic_nms", DetectParams(agnostic_nms=True)),
        ("agnostic_nms", DetectParams(agnostic_nms=False)),
    ):
        with pytest.raises(InvalidParameter, match=f"{name} is not a parameter of.*classify"):
            resolve(params, classifier.manifest)


def test_confidences_of_single_classes_are_by_name_or_id(artifact):
    resolved = resolve(DetectParams(class_conf={"blue": 0.0, "0": 1.0}), artifact.manifest)
    assert (resolved.class_conf, resolved.values["conf"]) == ({2: 0.0, 0: 1.0}, 0.25)
    manifest = artifact.manifest.model_copy(update={"class_names": ("1", "a:b")})
    assert resolve(DetectParams(class_conf={"1": 0.5, "a:b": 0.4}), manifest).class_conf == {0: 0.5, 1: 0.4}
    assert resolve(DetectParams(), manifest).class_conf == {}


def test_the_golden_sample_has_its_own_parameters(artifact):
    changes = {"params": {"conf": 0.1}, "controls": {"top_k": 3}}
    golden = artifact.manifest.golden.model_copy(update=changes)
    resolved = golden_params(artifact.manifest.model_copy(update={"golden": golden}))
    assert resolved.values == {"conf": 0.1, "iou": 0.5, "max_det": 100}
    assert resolved.controls == {"top_k": 3, "weight_threshold": 0.0}
