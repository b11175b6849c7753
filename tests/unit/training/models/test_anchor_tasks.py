"""The networks for segmentation, pose and oriented boxes: their sizes, and what their outputs mean."""

import math
from dataclasses import replace

import pytest
import torch

from training.config import ModelConfig
from training.models.detector import Detector
from training.models.heads.obb import decode_angles
from training.models.network import count_parameters
from training.models.oriented_detector import OrientedDetector
from training.models.pose_estimator import PoseEstimator
from training.models.segmenter import Segmenter
from training.models.variants import model_config
from training.skeleton import Skeleton

FIXED_BINS = 16  # the originals also count the bins of the side distances, which are constants
NETWORKS = {"segment": Segmenter, "pose": PoseEstimator, "obb": OrientedDetector}
ANCHORS = 64 + 16 + 4


def config_of(task, variant="yolov12-n", classes=2, input_hw=(64, 64), points=3) -> ModelConfig:
    plain = model_config(variant, tuple(f"class {index}" for index in range(classes)), input_hw)
    return replace(plain, task=task, skeleton=Skeleton.unnamed(points) if task == "pose" else None)


def network(task, variant="yolov12-n"):
    torch.manual_seed(0)
    return NETWORKS[task](config_of(task, variant)).eval()


def noise(images=2):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (images, 64, 64, 3), dtype=torch.uint8, generator=generator)


def predictions_of(model, images=2):
    """Return predictions with logits and extras that differ between anchors, as a trained network's do."""
    found = model(noise(images))
    generator = torch.Generator().manual_seed(2)
    outputs = ("box_logits", "class_logits", "extras")
    return found._replace(
        **{name: torch.randn(getattr(found, name).shape, generator=generator) for name in outputs}
    )


@pytest.mark.parametrize(
    ("task", "size", "parameters"),
    [
        ("segment", "n", 2_855_056),
        ("segment", "s", 9_938_592),
        ("segment", "m", 22_505_376),
        ("segment", "l", 28_756_992),
        ("segment", "x", 64_387_264),
        ("pose", "n", 2_886_715),
        ("pose", "s", 9_774_155),
        ("pose", "m", 21_057_753),
        ("pose", "l", 27_309_369),
        ("pose", "x", 61_134_489),
        ("obb", "n", 2_673_955),
        ("obb", "s", 9_570_275),
        ("obb", "m", 21_048_003),
        ("obb", "l", 27_299_619),
        ("obb", "x", 61_119_939),
    ],
)
def test_sizes_are_those_of_the_originals(task, size, parameters):
    with torch.device("meta"):  # shapes are all that is counted
        model = NETWORKS[task](config_of(task, f"yolov12-{size}", 80, (640, 640), points=17))
    assert count_parameters(model) == parameters - FIXED_BINS


@pytest.mark.parametrize("task", NETWORKS)
@pytest.mark.parametrize("variant", ["yolov12-n", "esmoe-n", "moehead-n"])
def test_boxes_and_scores_come_from_the_weights_of_a_detector(task, variant):
    model = network(task, variant)
    torch.manual_seed(0)
    detector = Detector(replace(config_of(task, variant), task="detect", skeleton=None)).eval()
    detector.load_state_dict(model.state_dict(), strict=False)
    with torch.no_grad():
        found, want = model(noise()), detector(noise())
    assert torch.equal(found.box_logits, want.box_logits)
    assert torch.equal(found.class_logits, want.class_logits)
    assert list(found.routings) == list(want.routings)


@torch.no_grad()
def test_the_mask_of_an_anchor_is_the_sum_of_prototypes_times_its_coefficients():
    model = network("segment")
    predictions = model(noise())
    _, _, coefficients = model.decode(predictions)
    assert coefficients.shape == (2, ANCHORS, 32)
    assert predictions.prototypes.shape == (2, 32, 16, 16)
    # The branch of the second level makes rows 64 to 79, row by row of its map of 4 × 4.
    maps, _ = model.backbone(noise().permute(0, 3, 1, 2) / 255, model.default_controls(), None)
    maps, _ = model.neck(maps, model.default_controls(), None)
    level = model.masks.coefficients.levels[1](maps[1])
    assert coefficients[1, 64 + 4 * 2 + 3].tolist() == pytest.approx(level[1, :, 2, 3].tolist(), abs=1e-6)


@torch.no_grad()
def test_keypoints_start_from_the_first_corner_of_the_cell_in_half_strides():
    model = network("pose")
    predictions = predictions_of(model)
    keypoints = model.decode(predictions)[2]
    assert keypoints.shape == (2, ANCHORS, 3, 3)
    for anchor, (column, row, stride) in {
        0: (0, 0, 8),
        13: (5, 1, 8),
        70: (2, 1, 16),
        83: (1, 1, 32),
    }.items():
        for point in range(3):
            x, y, logit = predictions.extras[1, anchor, 3 * point : 3 * point + 3].tolist()
            want = [(2 * x + column) * stride, (2 * y + row) * stride, 1 / (1 + math.exp(-logit))]
            assert keypoints[1, anchor, point].tolist() == pytest.approx(want, abs=1e-4)


@torch.no_grad()
def test_sides_of_oriented_boxes_are_measured_along_their_own_axes():
    model = network("obb")
    predictions = predictions_of(model)
    predictions = predictions._replace(extras=predictions.extras + torch.linspace(-3, 3, ANCHORS)[:, None])
    boxes, _, angles = model.decode(predictions)
    upright, _ = model.decode_rows(model.select(predictions, None))
    for anchor in range(0, ANCHORS, 7):
        raw = predictions.extras[1, anchor, 0].item()
        angle = (1 / (1 + math.exp(-raw)) - 0.25) * math.pi
        assert angles[1, anchor].item() == pytest.approx(angle, abs=1e-5)
        x, y = model.points[anchor].tolist()
        left, top, right, bottom = (
            side - start for side, start in zip(upright[1, anchor].tolist(), (x, y, x, y), strict=True)
        )
        # Turn the middle of the upright box around the anchor.
        center = complex(x, y) + complex(left + right, top + bottom) / 2 * complex(
            math.cos(angle), math.sin(angle)
        )
        width, height = right - left, bottom - top
        want = [
            center.real - width / 2,
            center.imag - height / 2,
            center.real + width / 2,
            center.imag + height / 2,
        ]
        assert boxes[1, anchor].tolist() == pytest.approx(want, abs=1e-4)


@torch.no_grad()
def test_oriented_boxes_at_angle_0_are_those_of_a_detector():
    model = network("obb")
    predictions = predictions_of(model)
    predictions = predictions._replace(extras=torch.full_like(predictions.extras, math.log(1 / 3)))
    boxes, scores, angles = model.decode(predictions)
    want_boxes, want_scores = model.decode_rows(model.select(predictions, None))
    assert angles.abs().max() < 1e-6
    assert boxes.numpy() == pytest.approx(want_boxes.numpy(), abs=1e-4)
    assert torch.equal(scores, want_scores)


def test_angles_lie_in_the_published_range():
    raw = torch.tensor([[[-200.0], [200.0], [0.0]]])
    assert decode_angles(raw)[0].tolist() == pytest.approx([-math.pi / 4, 3 * math.pi / 4, math.pi / 4])


@pytest.mark.parametrize("task", NETWORKS)
@pytest.mark.parametrize("images", [1, 2])
@torch.no_grad()
def test_a_limit_selects_the_same_anchors_of_every_output(task, images):
    model = network(task)
    predictions = predictions_of(model, images)
    all_anchors, best = model.decode(predictions), model.decode(predictions, limit=7)
    for image in range(images):
        top = all_anchors[1][image].amax(dim=1).argsort(descending=True)[:7]
        order = best[1][image].amax(dim=1).argsort(descending=True)
        for whole, part in zip(all_anchors, best, strict=True):
            assert part.shape == (images, 7, *whole.shape[2:])
            assert part[image, order].numpy() == pytest.approx(whole[image, top].numpy(), abs=1e-5)
    assert all(
        torch.equal(whole, part)
        for whole, part in zip(all_anchors, model.decode(predictions, limit=ANCHORS), strict=True)
    )
