"""Used GFLOPs of fixed part and chosen experts, and their correlation with the number of objects."""

import numpy as np
import pytest

from training.evaluate.compute_use import compute_use, used_gflops
from training.evaluate.groups import density_groups
from training.models.cost import Cost

COST = Cost(dense=20.0, experts={"p4": (1.0, 2.0), "p5": (3.0, 4.0)})  # so 10 are fixed
GATES = {
    "p4": np.array([[1, 0], [0, 1], [0.5, 0.5]], np.float32),
    "p5": np.array([[1, 0], [1, 0], [0.9, 0.1]], np.float32),
}


def use_of(boxes, used):
    boxes = np.array(boxes)
    return compute_use(COST, np.array(used, np.float64), boxes, density_groups(boxes))


def test_an_image_costs_the_fixed_part_and_its_experts():
    assert used_gflops(COST, GATES).tolist() == pytest.approx([14, 15, 20])


def test_without_an_expert_only_the_fixed_part_is_left():
    assert used_gflops(COST, {"p4": np.zeros((1, 2)), "p5": np.zeros((1, 2))}).tolist() == [10]


def test_thirds_by_density_have_their_means():
    use = use_of([1, 2, 3, 4, 5, 6], [14, 16, 15, 15, 18, 20])
    assert use.by_density == {"1 to 2 boxes": 15, "3 to 4 boxes": 15, "5 to 6 boxes": 19}
    assert (use.fixed, use.dense, use.least, use.most) == (10, 20, 14, 20)
    assert use.mean == pytest.approx(98 / 6)


@pytest.mark.parametrize(
    ("boxes", "used", "pearson", "spearman"),
    [
        pytest.param([1, 2, 3], [14, 15, 16], 1, 1, id="in step"),
        pytest.param([1, 2, 3], [20, 15, 14], -0.93326, -1, id="against"),
        # Ranks 1.5 1.5 3 and 1 2 3: 0.5 * 3 / sqrt(1.5 * 2)
        pytest.param([1, 1, 3], [14, 15, 16], np.sqrt(3) / 2, np.sqrt(3) / 2, id="ties share a rank"),
        pytest.param([1, 2, 30], [14, 15, 16], 0.88081, 1, id="ranks do not mind how far"),
        pytest.param([1, 2, 3], [15, 15, 15], None, None, id="as dear for all"),
        pytest.param([2, 2, 2], [14, 15, 16], None, None, id="as many boxes in all"),
        pytest.param([2], [14], None, None, id="one image"),
        pytest.param([1, 2, 3], [15, 15 + 1e-12, 15], None, None, id="rounding is no difference"),
    ],
)
def test_correlation(boxes, used, pearson, spearman):
    use = use_of(boxes, used)
    assert (use.pearson, use.spearman) == (pytest.approx(pearson, abs=1e-5), pytest.approx(spearman))


def test_without_groups_there_are_no_means():
    assert use_of([2, 2], [14, 15]).by_density == {}
