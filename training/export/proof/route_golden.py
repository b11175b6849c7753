"""Record for the golden sample what each route of a model with paths returns, without its router.

A whole answer of a detector has 1000 boxes or every anchor, and that of a segmenter has prototypes of
megabytes; an artifact may have 16 routes. So only a part is stored: the rows of the best boxes, and evenly
spread values of other outputs. A graph with other weights changes nearly all of them. The stored values keep
the dtypes of the outputs: float16 would round box coordinates near 640 by up to 0.25 pixels, and the
tolerance of float32 graphs is 0.001 pixels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.export.contract.tensors import (
    GATES,
    IMAGES,
    PATH_PROBS,
    ROUTER_PROBS,
    Arrays,
    GraphContract,
)
from training.export.proof.path_engine import PathEngine
from training.export.tasks.candidates import MIN_SCORE
from training.export.tasks.objects import BOXES, CLASS_IDS, CLASS_SCORES, EXTRAS, SCORES

# R routes · N rows of candidates · K stored rows · M stored values of an output

PREFIX = "routes_"  # of the arrays in golden.npz
ROWS = f"{PREFIX}rows"
MOST_ROWS = 32  # of a graph's candidates; the worst ones are noise, which rounding reorders
MOST_VALUES = 1024
OF_ROWS = (BOXES, SCORES, CLASS_IDS, CLASS_SCORES, *EXTRAS)  # roles of outputs with a row for each candidate
OF_NO_ROUTE = (GATES, ROUTER_PROBS, PATH_PROBS)  # roles of outputs that no graph of a route returns


def route_arrays(
    engine: PathEngine, contract: GraphContract, canvas: NDArray[np.uint8]
) -> dict[str, NDArray[Any]]:
    """Run the graph of every route for one model input (H, W, 3), and return the arrays for golden.npz.

    Returns:
        `routes_rows` (R, K) int32: the rows of up to MOST_ROWS (32) candidates of each route with the highest
        scores, of at least MIN_SCORE (0.01), but at least one; -1 if a route has fewer than K. For each
        output with rows, `routes_<name>` (R, K, …) has its values. For each other output, `routes_<name>`
        (R, M) has the values at `routes_<name>_places` (M,) of the flattened output.
    """
    images = np.repeat(canvas[None], contract.batch[0], axis=0)
    answers = [engine.route(route.key).run({IMAGES: images}) for route in engine.routes]
    arrays: dict[str, NDArray[Any]] = {}
    outputs = [each for each in contract.outputs if each.role not in OF_NO_ROUTE]
    if any(each.role in OF_ROWS for each in outputs):
        names = {each.role: each.name for each in outputs}
        arrays[ROWS] = _rows([_scores(answer, names) for answer in answers])
    for each in outputs:
        values = [answer[each.name][0] for answer in answers]
        if each.role in OF_ROWS:
            arrays[PREFIX + each.name] = _in_rows(values, arrays[ROWS])
        else:
            size = values[0].size
            places = np.linspace(0, size - 1, min(size, MOST_VALUES)).round().astype(np.int64)
            arrays[f"{PREFIX}{each.name}_places"] = places
            arrays[PREFIX + each.name] = np.stack([one.reshape(-1)[places] for one in values])
    return arrays


def _scores(answer: Arrays, names: dict[str, str]) -> NDArray[np.float32]:
    """Return the score of each candidate, (N,)."""
    if SCORES in names:
        return np.asarray(answer[names[SCORES]][0])
    return np.asarray(answer[names[CLASS_SCORES]][0].max(axis=-1))


def _rows(scores: Sequence[NDArray[np.float32]]) -> NDArray[np.int32]:
    """Return the rows (R, K) of the best candidates, highest score first, and then -1."""
    best = [np.argsort(-one, kind="stable")[:MOST_ROWS] for one in scores]
    counts = [max(1, int((one[rows] >= MIN_SCORE).sum())) for one, rows in zip(scores, best, strict=True)]
    found = np.full((len(scores), max(counts)), -1, dtype=np.int32)
    for row, rows, count in zip(found, best, counts, strict=True):
        row[:count] = rows[:count]
    return found


def _in_rows(values: Sequence[NDArray[Any]], rows: NDArray[np.int32]) -> NDArray[Any]:
    """Return the values (R, K, …) in each route's rows; 0 where a row is -1."""
    stored = np.stack([one[chosen] for one, chosen in zip(values, rows, strict=True)])
    stored[rows < 0] = 0
    return stored
