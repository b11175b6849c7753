"""The IoU of rotated boxes is exact, and suppression uses it."""

import numpy as np
import pytest
from shapely.geometry import Polygon

from service.pipeline.rotated import corners_of, rotated_ious, suppress_rotated
from service.types import Candidates


def drawn(seed, count):
    """Return boxes (N, 4) and angles (N,) that overlap often."""
    random = np.random.default_rng(seed)
    centres, sizes = random.uniform(0, 60, (count, 2)), random.uniform(1, 40, (count, 2))
    return np.hstack([centres - sizes / 2, centres + sizes / 2]), random.uniform(-7, 7, count)


@pytest.mark.parametrize("seed", range(4))
def test_the_iou_is_that_of_the_polygons(seed):
    corners = corners_of(*drawn(seed, 40))
    polygons = [Polygon(points) for points in corners]
    for one, mine in zip(corners, polygons, strict=True):
        want = [mine.intersection(theirs).area / mine.union(theirs).area for theirs in polygons]
        assert np.allclose(rotated_ious(one, corners), want, atol=1e-9)


def test_the_same_box_turned_by_pi_and_a_neighbour_with_a_common_edge():
    boxes = np.array([[0, 0, 10, 4], [0, 0, 10, 4], [10, 0, 20, 4], [5, 2, 5, 2]], float)
    corners = corners_of(boxes, np.array([0, np.pi, 0, 0]))
    assert rotated_ious(corners[0], corners) == pytest.approx([1, 1, 0, 0], abs=1e-12)


@pytest.mark.parametrize("agnostic", [False, True])
def test_suppression_keeps_what_a_loop_over_all_pairs_keeps(agnostic):
    boxes, angles = drawn(9, 80)
    random = np.random.default_rng(1)
    scores, classes = random.uniform(0, 1, 80).astype(np.float32), random.integers(0, 2, 80)
    polygons = [Polygon(points) for points in corners_of(boxes.astype(np.float32), angles)]
    kept = []
    for i in np.argsort(-scores):
        rivals = [j for j in kept if agnostic or classes[j] == classes[i]]
        overlaps = (
            polygons[i].intersection(polygons[j]).area / polygons[i].union(polygons[j]).area for j in rivals
        )
        if scores[i] >= 0.2 and all(overlap <= 0.3 for overlap in overlaps):
            kept.append(int(i))
    candidates = Candidates(boxes.astype(np.float32), scores, classes, angles)
    found = suppress_rotated(candidates, 0.2, 0.3, 1000, agnostic=agnostic)
    assert found.tolist() == kept
    assert suppress_rotated(candidates, 0.2, 0.3, 5, agnostic=agnostic).tolist() == kept[:5]
