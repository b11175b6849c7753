"""The masks of an explanation, and the effects that follow from them."""

import numpy as np
import pytest

from service.explain.attribution import EDGE, effects, log_odds, plan, random_cells, strongest
from service.explain.grid import Grid, Region

GRID = Grid(Region(0, 0, 60, 80), 6, 8)


def test_a_router_that_adds_up_its_cells_gets_their_weights_as_effects():
    weights = np.random.default_rng(3).normal(size=(2, 6, 8))
    masks = plan(GRID)
    falls = np.einsum("nrc,lrc->nl", masks, weights)
    found = effects(masks, falls)
    assert found.shape == (2, 6, 8)
    # The penalty draws the effects towards 0, but hardly changes their order.
    assert np.corrcoef(found.ravel(), weights.ravel())[0, 1] > 0.95


def test_a_router_that_only_large_parts_move_still_gets_a_map():
    masks = plan(GRID)
    share = masks[:, :2].mean(axis=(1, 2))  # of the upper third that is hidden
    falls = np.where(share > 0.4, share, 0.0)[:, None]
    (found,) = effects(masks, falls)
    assert found[:2].mean() > 0.05 > 5 * abs(found[2:].mean())


def test_the_same_grid_always_gives_the_same_masks():
    assert np.array_equal(plan(GRID), plan(GRID))
    assert len(plan(GRID)) == 48 + 2 * 32


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (1, 8), (8, 8)])
def test_every_cell_is_hidden_alone_and_random_halves_complete_each_other(rows, cols):
    masks = plan(Grid(Region(0, 0, 64, 64), rows, cols))
    alone, halves = masks[: rows * cols], masks[rows * cols :]
    assert np.array_equal(alone.sum(axis=0), np.ones((rows, cols)))
    assert np.array_equal(halves[::2], ~halves[1::2])


def test_log_odds_stay_finite_at_the_edges():
    assert log_odds(np.array([0.5])).tolist() == [0]
    assert np.isfinite(log_odds(np.array([0.0, 1.0]))).all()
    assert log_odds(np.array([0.0, EDGE / 2, EDGE])).tolist() == [log_odds(np.array([EDGE]))[0]] * 3


def test_the_strongest_cells_are_the_given_share_and_at_least_one():
    effect = np.arange(16.0).reshape(4, 4)
    assert strongest(effect, 0.25).tolist() == [[False] * 4] * 3 + [[True] * 4]
    assert strongest(effect, 0.001).sum() == 1
    assert strongest(np.zeros((1, 1)), 0.25).tolist() == [[True]]


def test_random_cells_are_as_many_as_the_strongest():
    masks = random_cells(GRID, 0.25, 4)
    assert masks.shape == (4, 6, 8)
    assert set(masks.sum(axis=(1, 2)).tolist()) == {12}
    assert not np.array_equal(masks[0], masks[1])
