"""Make the golden sample of an artifact: an image, and the answer of a correct server, to check servers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.evaluation import on_canvas
from training.errors import ExportError
from training.export.contract.spec import GraphSpec
from training.export.graph.export_graph import graph_contract
from training.export.proof.engine import Runner
from training.export.proof.margin import router_margin
from training.export.tasks.tasks import export_task
from training.models.network import Network


@dataclass(frozen=True)
class Golden:
    """The arrays of golden.npz, and the golden entries of the manifest."""

    arrays: Mapping[str, NDArray[Any]]
    params: Mapping[str, float]  # request parameters that differ from the task's defaults
    router_margin: float | None


def make_golden(
    model: Network, engine: Runner, spec: GraphSpec, images: Sequence[NDArray[np.uint8]]
) -> Golden:
    """Return the image whose routing is farthest from a tie, with the exported graph's answer for it.

    Near a tie, rounding could change which experts run on another machine.

    Raises:
        ExportError: the model finds nothing in any image, so the sample would prove nothing.
    """
    controls, task = model.default_controls(), export_task(model.config)
    contract = graph_contract(model.config, spec)
    experts = [len(layer.experts) for layer in model.mixture_layers().values()]
    best: Golden | None = None
    for image in images:
        canvas = on_canvas(image, model.config.input_hw, model.resize)
        answered = engine.run(contract.feed([canvas], [controls]))
        outputs = {name: values[:1] for name, values in answered.items()}
        by_role = contract.by_role(outputs)
        answer = task.golden(by_role, image, model.config.input_hw)
        if answer is None:
            continue
        margin = router_margin(by_role, experts, controls) if experts else None
        if best is None or (margin or 0) > (best.router_margin or 0):
            arrays = {"image": image, "input": canvas[None], **outputs, **answer.arrays}
            best = Golden(arrays, answer.params, margin)
    if best is None:
        raise ExportError(
            f"{task.nothing_found} in any of {len(images)} golden images, "
            "so a server could not prove that it reproduces it; train it longer"
        )
    return best
