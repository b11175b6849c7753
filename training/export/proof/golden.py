"""Make the golden sample of an artifact: an image and its correct answer, to check servers with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.evaluation import on_canvas
from training.export.contract.spec import GraphSpec
from training.export.graph.export_graph import graph_contract
from training.export.proof.engine import Runner
from training.export.proof.margin import router_margin
from training.export.proof.path_engine import PathEngine
from training.export.proof.route_golden import route_arrays
from training.export.tasks.tasks import export_task
from training.models.network import Network


@dataclass(frozen=True)
class Golden:
    """The arrays of golden.npz, and the golden entries of the manifest."""

    arrays: Mapping[str, NDArray[Any]]
    params: Mapping[str, float]  # request parameters that differ from the task's defaults
    router_margin: float | None
    unproved: str = ""  # why a replay of the sample proves little; empty if it proves the artifact


def make_golden(
    model: Network, engine: Runner, spec: GraphSpec, images: Sequence[NDArray[np.uint8]]
) -> Golden:
    """Run images through the exported graph, and return the golden sample of the best image.

    The best image is the one whose routing is farthest from a tie. Images in which the model finds nothing
    are left out. If the model finds nothing in any image, the best of all images is taken, and the result's
    field `unproved` says that nothing was found.

    For a model with paths, the sample also has a part of the answer of every route; see route_arrays.
    """
    controls, task = model.default_controls(), export_task(model.config)
    contract = graph_contract(model.config, spec)
    experts = [len(layer.experts) for layer in model.mixture_layers().values()]
    samples = list[tuple[tuple[bool, float], Golden]]()  # with what to rank them by
    for image in images:
        canvas = on_canvas(image, model.config.input_hw, model.resize)
        answered = engine.run(contract.feed([canvas], [controls]))
        outputs = {name: values[:1] for name, values in answered.items()}
        by_role = contract.by_role(outputs)
        answer = task.golden(by_role, image, model.config.input_hw)
        margin = router_margin(by_role, experts, controls) if experts else None
        arrays = {"image": image, "input": canvas[None], **outputs, **answer.arrays}
        sample = Golden(arrays, answer.params, margin)
        samples.append(((answer.found, margin or 0.0), sample))
    (found, _), best = max(samples, key=lambda sample: sample[0])
    if isinstance(engine, PathEngine):
        of_routes = route_arrays(engine, contract, best.arrays["input"][0])
        best = replace(best, arrays={**best.arrays, **of_routes})
    nothing = f"{task.nothing_found} in any of {len(images)} golden images"
    return best if found else replace(best, unproved=nothing)
