"""Choose which cells to hide together, and calculate each cell's effect from the changes.

If a router is certain, hiding a single cell often does not change its probabilities: they change only when
much of the image is hidden. So the plan also hides random halves of the cells. One linear model fits all
masks. `tests/explain/RESULTS.md` says how well the maps hold up.
"""

import numpy as np
from numpy.typing import NDArray

from service.explain.grid import Grid

Masks = NDArray[np.bool_]  # (N, rows, cols): the cells that are hidden together

EDGE = 1e-4  # least distance of probabilities from 0 and 1, because closer log-odds have no meaning
_PAIRS = 2 / 3  # pairs of random halves for each cell
_RIDGE = 1.0  # penalty on the effects, so that cells that are always hidden together share their effect


def log_odds(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return log(p / (1 - p)) of probabilities, each at least EDGE and at most 1 - EDGE."""
    kept = probabilities.astype(np.float64).clip(EDGE, 1 - EDGE)
    odds: NDArray[np.float64] = np.log(kept / (1 - kept))
    return odds


def single_cells(grid: Grid) -> Masks:
    """Return one mask for each cell, which hides this cell only."""
    return np.eye(grid.rows * grid.cols, dtype=bool).reshape(-1, grid.rows, grid.cols)


def halves(grid: Grid, seed: int = 0) -> Masks:
    """Return random masks in pairs: one hides half of the cells, and the next hides the other half."""
    rng, cells = np.random.default_rng(seed), grid.rows * grid.cols
    pairs = max(1, round(_PAIRS * cells))
    ranks = np.array([rng.permutation(cells) for _ in range(pairs)]).reshape(-1, grid.rows, grid.cols)
    first = ranks < cells // 2
    return np.stack([first, ~first], axis=1).reshape(-1, grid.rows, grid.cols)


def plan(grid: Grid, seed: int = 0) -> Masks:
    """Return all masks from which effects are calculated; the same grid and seed give the same masks."""
    return np.concatenate([single_cells(grid), halves(grid, seed)])


def effects(masks: Masks, falls: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the effect of each cell, (layers, rows, cols).

    The effects are the coefficients of the linear model that fits all masks best: it predicts the fall of a
    mask as the sum of the effects of its hidden cells.

    Args:
        masks: (N, rows, cols) hidden cells.
        falls: (N, layers) by how much a mask lowers the log-odds of the layer's most probable expert.
    """
    hidden = masks.reshape(len(masks), -1).astype(np.float64)
    penalty = _RIDGE * np.eye(hidden.shape[1])
    found = np.linalg.solve(hidden.T @ hidden + penalty, hidden.T @ falls)
    return np.asarray(found.T.reshape(-1, *masks.shape[1:]), dtype=np.float64)


def strongest(effect: NDArray[np.float64], share: float) -> NDArray[np.bool_]:
    """Return the cells with the largest effects, (rows, cols): `share` of all cells, and at least one."""
    count = max(1, round(share * effect.size))
    chosen = np.zeros(effect.size, dtype=bool)
    chosen[np.argsort(-effect, axis=None, kind="stable")[:count]] = True
    return chosen.reshape(effect.shape)


def random_cells(grid: Grid, share: float, draws: int, seed: int = 1) -> Masks:
    """Return masks with as many random cells as `strongest` chooses, (draws, rows, cols)."""
    rng = np.random.default_rng(seed)
    return np.array([strongest(rng.random((grid.rows, grid.cols)), share) for _ in range(draws)])
