"""Classification: the output of its graph, its golden sample, and its top-1 accuracy."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from training.config import ModelConfig
from training.evaluate.accuracy import accuracy
from training.export.contract.precision import Tolerance
from training.export.contract.spec import GraphSpec
from training.export.contract.tensors import Arrays, Output
from training.export.tasks.task import UNMATCHED, Answers, Difference, ExportTask, GoldenAnswer, equal_order

# C classes

PROBABILITIES = "probabilities"  # role and name of the output
TOP = 5  # classes in an answer if the request does not set `top`


def _output_rows(config: ModelConfig, spec: GraphSpec, tolerance: Tolerance) -> tuple[Output, ...]:
    sizes = (len(config.class_names),)
    return (Output(PROBABILITIES, "f32", sizes, PROBABILITIES, tolerance.probabilities),)


def _differences(want: Arrays, got: Arrays, tolerance: Tolerance) -> Mapping[str, Difference]:
    """Compare the probability of every class.

    The likeliest class of `got` may differ from the likeliest class of `want` only if, in `want`, the
    probabilities of these two classes are equal within the tolerance.
    """
    wanted, found = want[PROBABILITIES], got[PROBABILITIES]
    difference = equal_order(wanted, found)
    if wanted.shape == found.shape:
        lead = float(wanted.max() - wanted[0, found.argmax()])
        if lead > tolerance.probabilities:
            difference = difference._replace(excess=UNMATCHED)
    return {PROBABILITIES: difference}


def _golden(outputs: Arrays, image: NDArray[np.uint8], input_hw: tuple[int, int]) -> GoldenAnswer:
    """Return the correct answer for the image: the likeliest classes; for equal ones, the lowest id first."""
    probabilities = outputs[PROBABILITIES][0]
    best = np.argsort(-probabilities, kind="stable")[:TOP].astype(np.int32)
    return GoldenAnswer({"cls_class_ids": best, "cls_scores": probabilities[best]}, {})


def _top1(answers: Answers, class_names: Sequence[str], input_hw: tuple[int, int]) -> float:
    """Return the share of images, 0..1, whose likeliest class is the class of the label."""
    found = [(outputs[PROBABILITIES][0], sample.image_class) for sample, outputs in answers]
    probabilities, class_ids = zip(*found, strict=True)
    return accuracy(np.stack(probabilities), np.array(class_ids), class_names).top1


CLASSIFY = ExportTask(
    resize={"mode": "center_crop", "interpolation": "bilinear"},
    settings=lambda spec: {"defaults": {"top": TOP}},
    output_rows=_output_rows,
    outputs=lambda model, predictions, spec: (model.probabilities(predictions),),
    differences=_differences,
    golden=_golden,
    metric_name="top1",
    metric=_top1,
)
