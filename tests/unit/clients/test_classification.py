"""The client's request to a classifier and the result, with numbers that can be checked by hand."""

from dataclasses import replace

import numpy as np
import pytest

from clients.errors import BadParameter, ManifestMismatch
from clients.manifest import Resize
from clients.tasks.classify import Classification, ClassifyParams, ClassScore
from clients.types import ModelRef
from tests.unit.clients.conftest import answer_of


def question(manifest, image=None, controls=None, **asked):
    image = np.zeros((64, 64, 3), np.uint8) if image is None else image
    return ClassifyParams(controls=controls or {}, **asked).ask(image, manifest)


def outputs_of(asked, **changes):
    found = answer_of(0) | changes
    return {name: found[name] for name in asked.outputs}


def test_the_graph_itself_is_asked_for_probabilities_and_routing(classifier):
    asked = question(classifier, controls={"top_k": 1})
    assert asked.model == "tiny-openvino"
    assert asked.outputs == ("p", "gates", "router_probs")
    assert {name: (str(value.dtype), value.shape) for name, value in asked.tensors.items()} == {
        "images": ("uint8", (1, 64, 64, 3)),
        "top_k": ("int64", (1, 1)),
        "weight_threshold": ("float32", (1, 1)),
    }
    assert asked.tensors["top_k"].item() == 1


def test_the_best_classes_come_first_and_as_many_as_the_model_says(classifier):
    asked = question(classifier)
    found = asked.read(outputs_of(asked))  # 0.25, 0.125, 0.625
    assert list(found) == [ClassScore("blue", 2, 0.625), ClassScore("red", 0, 0.25)]
    assert [layer.active for layer in found.experts] == [(1, 2), (1, 2)]
    assert (found.top_k, found.routing, found.image_hw) == (2, "normal", (64, 64))


@pytest.mark.parametrize(("top", "count"), [(1, 1), (3, 3), (10_000, 3)])
def test_top_is_how_many_are_told(classifier, top, count):
    asked = question(classifier, top=top)
    assert len(asked.read(outputs_of(asked))) == count


@pytest.mark.parametrize("top", [0, -1, 10_001, 1.0, True])
def test_another_top_is_refused(classifier, top):
    with pytest.raises(BadParameter, match="from 1 to 10000"):
        question(classifier, top=top)


def test_only_the_classes_that_are_asked_for_are_told(classifier):
    asked = question(classifier, classes=["green", 0])
    assert asked.read(outputs_of(asked)).class_names == ("red", "green")
    with pytest.raises(BadParameter, match="the classes are red, green, blue"):
        question(classifier, classes="rad")


def test_of_equal_probabilities_the_lower_id_comes_first(classifier):
    asked = question(classifier, top=3)
    found = asked.read(outputs_of(asked, p=np.array([[0.25, 0.5, 0.25]], np.float32)))
    assert found.class_ids.tolist() == [1, 0, 2]


def test_the_centre_is_cut_out(classifier):
    image = np.zeros((64, 128, 3), np.uint8)
    image[:, 32:96] = 200  # the middle half, which is the canvas
    assert (question(classifier, image).tensors["images"] == 200).all()


def test_a_letterbox_is_possible_as_well(classifier):
    boxed = replace(classifier, resize=Resize("letterbox", 7))
    canvas = question(boxed, np.zeros((64, 128, 3), np.uint8)).tensors["images"]
    assert canvas[0, :16].tolist() == np.full((16, 64, 3), 7).tolist()


def test_the_answer_is_told_as_the_service_tells_it(classifier):
    asked = question(classifier, top=1)
    told = asked.read(outputs_of(asked)).to_dict()
    assert told["predictions"] == [{"class": "blue", "class_id": 2, "confidence": 0.625}]
    assert told["image"] == {"width": 64, "height": 64}
    assert told["moe"]["layers"][0]["active"] == [1, 2]


def test_without_experts_there_is_no_routing(classifier):
    asked = question(replace(classifier, controls={}, mixture=()))
    assert asked.outputs == ("p",)
    assert asked.read(outputs_of(asked)).experts == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"p": np.zeros((1, 4), np.float32)}, "p has the shape"),
        ({"p": np.zeros((1, 3), np.float16)}, "p has the type float16"),
        ({"gates": np.zeros((1, 2, 3), np.float32)}, "gates has the shape"),
    ],
)
def test_an_output_that_does_not_fit_is_refused(classifier, changes, words):
    asked = question(classifier)
    with pytest.raises(ManifestMismatch, match=words):
        asked.read(outputs_of(asked, **changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task_settings": {}}, "defaults is missing"),
        ({"task_settings": {"defaults": {"top": 0}}}, "defaults.top is 0"),
        ({"outputs": ()}, "no output has the role probabilities"),
        ({"class_names": ("red",)}, r"the dims of p must be \[B, 1\]"),
    ],
)
def test_a_manifest_without_what_classification_needs_is_refused(classifier, changes, words):
    with pytest.raises(ManifestMismatch, match=words):
        question(replace(classifier, **changes))


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        Classification(
            model=ModelRef("m", "1", "0", "triton", "f32"),
            image_hw=(1, 1),
            experts=(),
            top_k=None,
            routing="normal",
            class_ids=np.zeros(2, np.int64),
            class_names=("red",),
            scores=np.zeros(1, np.float32),
        )
