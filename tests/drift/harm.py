"""Measures what shifts cost: the metric of the starter's graph on shifted validation images."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.drift.shifts import Shift
from training.data.evaluation import on_canvas
from training.data.sample import Dataset, Sample
from training.export.tasks.tasks import export_task
from training.predict.open import LoadedModel, open_artifact
from training.trainer.checkpoint import find_checkpoint, load_model

UNCHANGED = "unchanged"


def measure_harm(
    artifact: Path, dataset: Dataset, shifts: Mapping[str, Shift]
) -> Iterator[tuple[str, float]]:
    """Yield the mAP50-95 of unchanged images, then of each shift.

    Args:
        artifact: folder of one version of the starter.
        dataset: labelled images.
        shifts: shifts that leave objects where they are.
    """
    model, (network, _) = open_artifact(artifact, None), load_model(find_checkpoint(Path("starter")))
    task = export_task(network.config)
    for name, shift in {UNCHANGED: None, **shifts}.items():
        answers = _answers(model, dataset, shift)
        yield name, task.metric(answers, dataset.class_names, model.input_hw)


def _answers(
    model: LoadedModel, dataset: Dataset, shift: Shift | None
) -> Iterator[tuple[Sample, Mapping[str, NDArray[Any]]]]:
    rng = np.random.default_rng(0)
    for index in range(len(dataset)):
        sample = dataset.load(index)
        image = sample.image if shift is None else shift(sample.image, rng)
        canvas = on_canvas(image, model.input_hw, model.resize, None)
        yield replace(sample, image=image), model.run(canvas, model.controls)
