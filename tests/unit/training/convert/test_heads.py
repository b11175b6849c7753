"""Checkpoints for segmentation, pose, oriented boxes and classification are converted, or refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.unit.training.convert.foreign_heads import foreign_network, normed
from tests.unit.training.convert.foreign_models import (
    RELEASED,
    SPATIAL,
    Shells,
    foreign_classes,
    save,
)
from training.convert.command import convert, report
from training.convert.convert import read_foreign
from training.convert.expect import OUTPUTS, answer, compare, read_expected
from training.data.readers.coco_keypoints import PERSON, PERSON_SIGMAS
from training.errors import CheckpointError
from training.models.network import count_parameters
from training.skeleton import Skeleton
from training.trainer.checkpoint import load_model

HEADS = ("Segment", "Pose", "OBB", "Classify")
BINS = 16  # counted by torch in the file, a formula here


def write(path: Path, head: str, alter: Any = None, **options: Any) -> dict[str, Any]:
    """Save a model, changed by `alter` if given; returns its state dict as the file has it."""
    torch.manual_seed(0)
    with foreign_classes() as make:
        model = foreign_network(make, head, **options)
        if alter is not None:
            alter(model, make)
        save(path, model)
        return dict(model.state_dict())


@pytest.mark.parametrize(
    ("head", "options", "variant", "tensors", "parameters"),
    [
        pytest.param("Segment", {}, "yolov12-n-seg", 753, 2_855_056, id="segment"),
        pytest.param("Pose", {"points": 17}, "yolov12-n-pose", 733, 2_886_715, id="pose"),
        pytest.param("OBB", {}, "yolov12-n-obb", 733, 2_673_955, id="obb"),
        pytest.param("Classify", {}, "yolov12-n-cls", 350, 1_820_976, id="classify"),
        pytest.param("Segment", {"size": "s"}, "yolov12-s-seg", 753, 9_938_592, id="segment of size s"),
    ],
)
def test_every_tensor_of_the_published_models_is_used(head, options, variant, tensors, parameters, tmp_path):
    foreign = write(tmp_path / "foreign.pt", head, classes=80, **options)
    conversion = read_foreign(tmp_path / "foreign.pt")
    assert (conversion.model.config.variant, conversion.tensors) == (variant, tensors)
    bins = 0 if head == "Classify" else BINS
    assert count_parameters(conversion.model) + bins == parameters
    assert len(foreign) == tensors
    if head != "Classify":  # the weights of a classifier's norms change
        total = sum(float(tensor.double().abs().sum()) for tensor in conversion.model.state_dict().values())
        expected = sum(float(tensor.double().abs().sum()) for tensor in foreign.values()) - sum(range(BINS))
        assert total == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    ("mixture", "family", "places"), [(RELEASED, "esmoe", 4), (SPATIAL, "modular", 3)], ids=["v0", "v0.1"]
)
def test_mixtures_are_converted_for_all_tasks(mixture, family, places, head, tmp_path):
    foreign = write(tmp_path / "foreign.pt", head, mixture=mixture)
    model = read_foreign(tmp_path / "foreign.pt").model
    assert model.config.variant.startswith(f"{family}-n-")
    assert len(model.mixture_layers()) == places
    assert len(model.state_dict()) == len(foreign) - (head != "Classify")


PAIRS = {  # foreign names in the head to ours in the network
    "Segment": {
        "cv2.0.2.weight": "head.box_branches.0.2.weight",
        "cv3.2.2.bias": "head.class_branches.2.4.bias",
        "proto.cv1.conv.weight": "masks.prototypes.enter.conv.weight",
        "proto.upsample.weight": "masks.prototypes.upsample.weight",
        "proto.upsample.bias": "masks.prototypes.upsample.bias",
        "proto.cv2.bn.running_mean": "masks.prototypes.refine.bn.running_mean",
        "proto.cv3.conv.weight": "masks.prototypes.leave.conv.weight",
        "cv4.0.1.bn.bias": "masks.coefficients.levels.0.1.bn.bias",
        "cv4.2.2.weight": "masks.coefficients.levels.2.2.weight",
    },
    "Pose": {
        "cv4.1.0.conv.weight": "keypoints.levels.1.0.conv.weight",
        "cv4.2.2.bias": "keypoints.levels.2.2.bias",
    },
    "OBB": {
        "cv4.1.0.conv.weight": "angles.levels.1.0.conv.weight",
        "cv4.2.2.bias": "angles.levels.2.2.bias",
    },
    "Classify": {
        "conv.conv.weight": "head.widen.conv.weight",
        "linear.weight": "head.score.weight",
        "linear.bias": "head.score.bias",
    },
}


@pytest.mark.parametrize("head", HEADS)
def test_a_converted_file_is_loaded_as_a_network_of_its_task(head, tmp_path):
    write(tmp_path / "foreign.pt", head)
    images = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8).numpy()
    expected = answer(read_foreign(tmp_path / "foreign.pt").model, images)
    np.savez(tmp_path / "answers.npz", images=images, **expected)
    model, _ = load_model(convert(tmp_path / "foreign.pt", expect=tmp_path / "answers.npz"))
    assert all(each.largest == 0 for each in compare(model, {"images": images, **expected}))


@pytest.mark.parametrize("head", HEADS)
def test_parts_of_the_head_are_put_where_they_belong(head, tmp_path):
    foreign = write(tmp_path / "foreign.pt", head)
    last = 9 if head == "Classify" else 21
    ours = read_foreign(tmp_path / "foreign.pt").model.state_dict()
    for theirs, name in PAIRS[head].items():
        torch.testing.assert_close(ours[name], foreign[f"model.{last}.{theirs}"].float(), rtol=0, atol=0)


def test_norms_of_a_classifier_compute_the_same_though_they_add_less_to_the_variance(tmp_path):
    with foreign_classes() as make:
        model = foreign_network(make, "Classify")
        norm = model.model[3].bn
        norm.running_var[:8] = torch.tensor([0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1.0, 100.0])
        save(tmp_path / "foreign.pt", model)
        expected = normed(norm.double(), torch.ones(1, 64, 1, 1).double())
    ours = read_foreign(tmp_path / "foreign.pt").model.backbone.p3[0].bn
    assert ours.eps == 1e-3
    torch.testing.assert_close(
        normed(ours.double(), torch.ones(1, 64, 1, 1).double()), expected, rtol=1e-6, atol=0
    )


def test_a_classifier_without_a_size_was_trained_at_224(tmp_path):
    with foreign_classes() as make:
        save(tmp_path / "foreign.pt", foreign_network(make, "Classify"), train_args={})
    assert read_foreign(tmp_path / "foreign.pt").model.config.input_hw == (224, 224)


def name_points(names: Any) -> Any:
    return lambda model, make: setattr(model, "kpt_names", names)


@pytest.mark.parametrize(
    ("written", "names", "flip_ids"),
    [
        pytest.param(None, ("1", "2", "3"), (0, 1, 2), id="none"),
        pytest.param({0: ["0", "1", "2"]}, ("1", "2", "3"), (0, 1, 2), id="numbers"),
        pytest.param(
            {0: ["nose", "left_ear", "right_ear"]}, ("nose", "left_ear", "right_ear"), (0, 2, 1), id="names"
        ),
        pytest.param(
            {0: ["a", "b", "c"], 1: ["a", "b", "d"]}, ("1", "2", "3"), (0, 1, 2), id="others in each class"
        ),
        pytest.param({0: ["a", "b", "b"]}, ("1", "2", "3"), (0, 1, 2), id="a name twice"),
        pytest.param({0: ["a", "b", "\x1b[2J"]}, ("1", "2", "3"), (0, 1, 2), id="for the terminal"),
        pytest.param({0: ["a", "b"]}, ("1", "2", "3"), (0, 1, 2), id="too few"),
        pytest.param({0: ["a", "b", 7]}, ("1", "2", "3"), (0, 1, 2), id="no text"),
        pytest.param(["a", "b", "c"], ("1", "2", "3"), (0, 1, 2), id="no classes"),
    ],
)
def test_keypoints_have_the_names_in_the_file_if_they_are_usable(written, names, flip_ids, tmp_path):
    write(tmp_path / "foreign.pt", "Pose", name_points(written), points=3)
    config = read_foreign(tmp_path / "foreign.pt").model.config
    assert config.skeleton == Skeleton(names=names, flip_ids=flip_ids)


def test_17_keypoints_of_persons_are_those_of_coco(tmp_path):
    def alter(model: Any, make: Any) -> None:
        model.names = {0: "person"}

    write(tmp_path / "foreign.pt", "Pose", alter, classes=1, points=17)
    conversion = read_foreign(tmp_path / "foreign.pt")
    skeleton = conversion.model.config.skeleton
    assert (skeleton.names, skeleton.sigmas) == (PERSON, PERSON_SIGMAS)
    named = {(PERSON[first], PERSON[second]) for first, second in skeleton.edges}
    assert len(named) == 19
    assert {("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"), ("nose", "left_eye")} <= named
    assert [PERSON[other] for other in skeleton.flip_ids][5:7] == ["right_shoulder", "left_shoulder"]
    assert "keypoints   17: nose, left_eye, right_eye, left_ear, right_ear, …" in report(conversion)


def set_head(**settings: Any) -> Any:
    def alter(model: Any, make: Any) -> None:
        for name, value in settings.items():
            setattr(model.model[-1], name, value)

    return alter


def more_prototypes(model: Any, make: Any) -> None:
    model.model[-1].proto.cv3 = Shells(make).conv(48, 64)


REFUSED = {
    "no kpt_shape": ("Pose", set_head(kpt_shape=None), "kpt_shape=None; expected the number of keypoints"),
    "no visibility": ("Pose", set_head(kpt_shape=[2, 2]), "predicts 2 numbers for each keypoint; only x, y"),
    "keypoints without end": ("Pose", set_head(kpt_shape=[10**12, 3]), r"has 1000000000000 keypoints; 1\.\."),
    "a negative number of keypoints": ("Pose", set_head(kpt_shape=[-1, 3]), "has -1 keypoints"),
    "other number of keypoints": (
        "Pose",
        set_head(kpt_shape=[3, 3]),
        r"model\.21\.cv4\.\d\.2\.weight \(Conv2d\) is \[6, 16, 1, 1\]; expected \[9, 16, 1, 1\]",
    ),
    "no branch": ("OBB", set_head(cv4=None), r"model\.21\.cv4 is missing in OBB"),
    "two angles": (
        "OBB",
        lambda model, make: setattr(model.model[-1].cv4[0], "2", nn.Conv2d(16, 2, 1)),
        r"model\.21\.cv4\.0\.2\.(weight|bias) \(Conv2d\) is \[2.*; expected \[1",
    ),
    "more prototypes": (
        "Segment",
        more_prototypes,
        r"proto\.cv3\.conv\.weight \(Conv2d\) is \[48, 64, 1, 1\]",
    ),
    "upsampling otherwise": (
        "Segment",
        lambda model, make: setattr(model.model[-1].proto, "upsample", nn.ConvTranspose2d(64, 64, 2, 1)),
        r"model\.21\.proto\.upsample \(ConvTranspose2d\) has stride=\(1, 1\); expected \(2, 2\)",
    ),
    "upsampling without weights": (
        "Segment",
        lambda model, make: setattr(model.model[-1].proto, "upsample", nn.Upsample(scale_factor=2)),
        r"proto\.upsample is Upsample; expected ConvTranspose2d",
    ),
    "no prototypes": ("Segment", set_head(proto=None), r"model\.21\.proto is missing in Segment"),
    "another part": (
        "Segment",
        lambda model, make: setattr(model.model[-1], "semantic", nn.Conv2d(1, 1, 1)),
        r"semantic\.(weight|bias) \(Conv2d\) is one too many: yolov12-n-seg lacks it",
    ),
    "maximum instead of the mean": (
        "Classify",
        lambda model, make: setattr(model.model[-1], "pool", nn.AdaptiveMaxPool2d(1)),
        r"model\.9\.pool is no AdaptiveAvgPool2d",
    ),
    "pooling to four cells": (
        "Classify",
        lambda model, make: setattr(model.model[-1], "pool", nn.AdaptiveAvgPool2d(2)),
        r"pool \(AdaptiveAvgPool2d\) has output_size=2; expected 1",
    ),
    "other classes": (
        "Classify",
        lambda model, make: model.names.update({3: "x"}),
        r"model\.9\.linear\.weight \(Linear\) is \[3, 1280\]; expected \[4, 1280\]",
    ),
    "a norm that adds nothing": (
        "Classify",
        lambda model, make: setattr(model.model[9].conv.bn, "eps", 0.0),
        r"model\.9\.conv\.bn \(BatchNorm2d\) has eps=0\.0; expected 0\.001 or 1e-05",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_head_that_computes_something_else_is_refused_by_name(case, tmp_path):
    head, alter, said = REFUSED[case]
    write(tmp_path / "foreign.pt", head, alter)
    with pytest.raises(CheckpointError, match=rf"foreign\.pt: .*{said}"):
        read_foreign(tmp_path / "foreign.pt")


@pytest.fixture
def converted(request, tmp_path) -> Any:
    """Return a converted network, and its answers with images, as read_expected returns them."""
    write(tmp_path / "foreign.pt", request.param)
    model = read_foreign(tmp_path / "foreign.pt").model
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8).numpy()
    np.savez(tmp_path / "answers.npz", images=images, **answer(model, images))
    return model, read_expected(tmp_path / "answers.npz", model.config.task)


@pytest.mark.parametrize("converted", HEADS, indirect=True)
def test_every_output_is_compared_by_its_own_limit(converted):
    model, expected = converted
    assert all(each.within and each.largest == 0 for each in compare(model, expected))
    for output in OUTPUTS[model.config.task]:
        for factor in (0.9, 1.2):
            changed = {name: array.copy() for name, array in expected.items()}
            numbers = changed[output.name].reshape(-1)
            numbers[0] += factor * output.limit + output.relative * abs(numbers[0])
            within = {each.output.name: each.within for each in compare(model, changed)}
            assert within == {**dict.fromkeys(within, True), output.name: factor < 1}


@pytest.mark.parametrize("converted", ["Pose"], indirect=True)
def test_answers_of_another_task_are_refused(converted, tmp_path):
    with pytest.raises(CheckpointError, match="needs arrays images, boxes, scores, angles"):
        read_expected(tmp_path / "answers.npz", "obb")
