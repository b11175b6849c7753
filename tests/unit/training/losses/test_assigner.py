"""Assignment of anchors to objects."""

import pytest
import torch

from training.config import LossConfig
from training.losses.assigner import assign
from training.ops.anchors import anchor_points
from training.ops.boxes import complete_iou

POINTS, _ = anchor_points((64, 64), (8, 16, 32))  # 64 + 16 + 4


def truth_of(*rows):
    """Rows of box, class, image."""
    return (
        torch.tensor([row[0] for row in rows], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([row[1] for row in rows], dtype=torch.int64),
        torch.tensor([row[2] for row in rows], dtype=torch.int64),
    )


def everywhere(*boxes):
    """(B, A, 4): every anchor of an image predicts the image's box."""
    return torch.tensor(boxes, dtype=torch.float32)[:, None].expand(-1, len(POINTS), 4).clone()


def even_scores(images=1, classes=2):
    return torch.full((images, len(POINTS), classes), 0.25)


def anchor_at(x, y, level=slice(0, 64)):
    """The row of the anchor of the finest level at a point."""
    return (POINTS[level] == torch.tensor([x, y])).all(dim=1).nonzero().item()


def test_without_objects_every_anchor_is_background():
    targets = assign(everywhere((0, 0, 9, 9)), even_scores(), POINTS, truth_of(), LossConfig())
    assert not targets.foreground.any()
    assert targets.class_scores.shape == (1, 84, 2)
    assert targets.class_scores.sum() == 0


def test_an_object_gets_the_anchors_inside_it_and_its_class_alone():
    # 17..33 holds the centres of four cells of 8 pixels, of one of 16, and of none of 32.
    box = (17, 17, 33, 33)
    targets = assign(everywhere(box), even_scores(), POINTS, truth_of((box, 1, 0)), LossConfig())
    inside = POINTS[targets.foreground[0]].tolist()
    assert inside == [[20, 20], [28, 20], [20, 28], [28, 28], [24, 24]]
    assert targets.class_scores[0, :, 0].sum() == 0
    assert targets.class_scores[0, :, 1].sum().item() == pytest.approx(5.0, rel=1e-4)  # all overlap by 1
    assert (targets.object_ids[targets.foreground] == 0).all()


def test_an_anchor_on_the_edge_of_an_object_is_inside():
    box = (20, 20, 28, 28)
    targets = assign(everywhere(box), even_scores(), POINTS, truth_of((box, 0, 0)), LossConfig())
    assert targets.foreground[0].sum() == 5  # four corners of the finest level, the centre of the next


def test_only_the_best_aligned_top_k_are_taken():
    box = (0, 0, 64, 64)
    scores = even_scores()
    best = [3, 17, 70]
    scores[0, best, 0] = torch.tensor([0.9, 0.8, 0.7])
    config = LossConfig(assign_top_k=3)
    targets = assign(everywhere(box), scores, POINTS, truth_of((box, 0, 0)), config)
    assert targets.foreground[0].nonzero().flatten().tolist() == best
    # All overlap by 1, so alignment is the root of the score; the best is asked for its overlap.
    wanted = targets.class_scores[0, best, 0].tolist()
    assert wanted == pytest.approx([1.0, (0.8 / 0.9) ** 0.5, (0.7 / 0.9) ** 0.5])


@pytest.mark.parametrize(
    "box",
    [
        pytest.param((30, 30, 34, 34), id="around a corner of four cells"),
        pytest.param((29, 13, 31, 14), id="beside the centre of its cell"),
        pytest.param((0, 0, 2, 2), id="in the corner of the canvas"),
        pytest.param((62, 62, 64, 64), id="in the other corner"),
    ],
)
def test_a_tiny_object_between_centres_still_gets_an_anchor(box):
    targets = assign(everywhere(box), even_scores(), POINTS, truth_of((box, 0, 0)), LossConfig())
    assert targets.foreground.any()
    assert targets.class_scores.max().item() == pytest.approx(1.0, rel=1e-3)


def test_the_best_anchor_is_asked_for_its_overlap():
    truth = (16, 16, 32, 32)
    predicted = everywhere((0, 0, 1, 1))
    near = anchor_at(20, 20)
    predicted[0, near] = torch.tensor([16.0, 16, 32, 30])
    targets = assign(predicted, even_scores(), POINTS, truth_of((truth, 0, 0)), LossConfig())
    overlap = complete_iou(torch.tensor([16.0, 16, 32, 30]), torch.tensor([16.0, 16, 32, 32]))
    assert targets.class_scores[0, near, 0].item() == pytest.approx(overlap.item(), rel=1e-4)


def test_an_anchor_wanted_by_two_objects_goes_to_the_one_it_overlaps_most():
    wide, narrow = (16, 16, 48, 48), (16, 16, 32, 32)
    shared = [anchor_at(20, 20), anchor_at(28, 28)]
    predicted = everywhere((0, 0, 1, 1))
    predicted[0, shared[0]] = torch.tensor([16.0, 16, 46, 46])
    predicted[0, shared[1]] = torch.tensor([16.0, 16, 33, 33])
    scores = even_scores()
    scores[0, shared[0]] = torch.tensor([0.01, 0.99])  # the score prefers the other object each time
    scores[0, shared[1]] = torch.tensor([0.99, 0.01])
    config = LossConfig(assign_top_k=200)  # every anchor inside
    targets = assign(predicted, scores, POINTS, truth_of((wide, 0, 0), (narrow, 1, 0)), config)
    assert targets.object_ids[0, shared].tolist() == [0, 1]
    assert (targets.class_scores[0, shared] > 0).tolist() == [[True, False], [False, True]]


def test_objects_of_one_image_claim_no_anchor_of_another():
    box = (16, 16, 32, 32)
    targets = assign(everywhere(box, box, box), even_scores(3), POINTS, truth_of((box, 0, 1)), LossConfig())
    assert targets.foreground.any(dim=1).tolist() == [False, True, False]


def plain_assign(boxes, scores, points, truth, config):
    """The same rule, one pair at a time: {(image, anchor): (object, class, wanted score)}."""
    wishes = {}
    for obj, (box, class_id, image) in enumerate(zip(*truth, strict=True)):
        pairs = []
        for anchor, (x, y) in enumerate(points.tolist()):
            x1, y1, x2, y2 = box.tolist()
            grow_x, grow_y = max(0, 8 - (x2 - x1)) / 2, max(0, 8 - (y2 - y1)) / 2
            if x1 - grow_x <= x <= x2 + grow_x and y1 - grow_y <= y <= y2 + grow_y:
                overlap = max(0.0, complete_iou(box, boxes[image, anchor]).item())
                score = scores[image, anchor, class_id].item()
                pairs.append((score**config.assign_alpha * overlap**config.assign_beta, overlap, anchor))
        for alignment, overlap, anchor in sorted(pairs, reverse=True)[: config.assign_top_k]:
            wishes.setdefault((int(image), anchor), []).append((overlap, obj, alignment))
    granted = {place: max(candidates) for place, candidates in wishes.items()}
    wanted = {}
    for place, (_, obj, alignment) in granted.items():
        own = [grant for grant in granted.values() if grant[1] == obj]
        best = max(grant[2] for grant in own)
        if alignment > 0:
            share = alignment / best * max(grant[0] for grant in own)
            wanted[place] = (obj, int(truth[1][obj]), share)
    return wanted


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("top_k", [1, 4, 10])
def test_it_agrees_with_a_plain_loop_over_all_pairs(seed, top_k):
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(*shape, generator=generator)

    images, objects, classes = 3, 12, 4
    half = 4 + 24 * uniform(images, len(POINTS), 2)
    boxes = torch.cat([POINTS - half, POINTS + half], dim=-1)
    scores = uniform(images, len(POINTS), classes)
    centers, sizes = 64 * uniform(objects, 2), 2 + 30 * uniform(objects, 2)
    truth = (
        torch.cat([centers - sizes / 2, centers + sizes / 2], dim=1),
        torch.randint(classes, (objects,), generator=generator),
        torch.randint(images, (objects,), generator=generator).sort().values,
    )
    config = LossConfig(assign_top_k=top_k, assign_beta=2.0)
    targets = assign(boxes, scores, POINTS, truth, config)
    expected = torch.zeros_like(targets.class_scores)
    for (image, anchor), (obj, class_id, share) in plain_assign(boxes, scores, POINTS, truth, config).items():
        expected[image, anchor, class_id] = share
        assert targets.foreground[image, anchor]
        assert targets.object_ids[image, anchor] == obj
    assert expected.any()
    assert (targets.class_scores - expected).abs().max() < 1e-4
