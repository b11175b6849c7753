"""Write an evaluation's curves and confusion matrix, each as a plot and as a file of numbers."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.evaluate.classification import ClassEvaluation
from training.evaluate.confusion import BACKGROUND, class_confusion, detection_confusion
from training.evaluate.curves import CONFIDENCES, RECALLS, Curves
from training.evaluate.evaluator import Evaluation
from training.evaluate.objects.kind import ObjectKind
from training.evaluate.routed import Result
from training.files import write_atomically
from training.lab.inspection.style import COLOURS, FAINT, GRID, INK, OTHERS, SMALL, TEXT, bare, new_figure
from training.tasks.choose import task_named

NAMED_CLASSES = len(COLOURS)  # with more, the curves of classes are grey and without a name
NUMBERED_CLASSES = 20  # with more, cells of the matrix have no numbers
LABELLED_CLASSES = 60  # with more, rows and columns have no names


def write_plots(found: Result, folder: Path, *, conf: float = 0.25, iou: float = 0.45) -> list[Path]:
    """Write plots as PNG, their numbers as CSV and the report as JSON; return the files.

    Args:
        folder: created if it does not exist; files of the same name are replaced.
        conf: lowest score of a detection in the confusion matrix.
        iou: smallest overlap at which a detection matches an object in the confusion matrix.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, bytes | str] = {"report.json": task_named(found.task).report_json(found)}
    if isinstance(found, Evaluation):
        names = [*found.class_names, BACKGROUND]
        matrix = detection_confusion(
            found.routed.truths, found.detections, len(found.class_names), conf=conf, iou=iou, kind=found.kind
        )
        what = (
            f"Detections from confidence {conf:g} that overlap an object by at least "
            f"{found.kind.overlap} {iou:g}"
        )
        files |= _curve_files(found.curves, found.kind)
    else:
        assert isinstance(found, ClassEvaluation)
        names, what = list(found.accuracy.by_class), "The likeliest class of each image"
        labels = found.routed.image_classes
        assert labels is not None
        matrix = class_confusion(found.probabilities, labels)
    files["confusion_matrix.png"] = _png(_draw_matrix(matrix, names, what))
    files["confusion_matrix.csv"] = _csv(
        ["labelled \\ found", *names],
        ([name, *row] for name, row in zip(names, matrix.tolist(), strict=True)),
    )
    for name, content in files.items():
        write_atomically(folder / name, content)
    return [folder / name for name in files]


def _curve_files(curves: Curves, kind: ObjectKind) -> dict[str, bytes | str]:
    best = CONFIDENCES[curves.best]
    at_best = f"The mean is highest at confidence {best:.3f}: {curves.f1[:, curves.best].mean():.3f}"
    mean_ap = f"{kind.score}50: {curves.by_recall.mean(axis=1).mean():.3f}"
    figures = {
        "precision_recall": (RECALLS, curves.by_recall, "Precision by recall", mean_ap),
        "f1": (CONFIDENCES, curves.f1, "F1 by confidence", at_best),
        "precision": (
            CONFIDENCES,
            curves.precision,
            "Precision by confidence",
            "It is 0 where nothing is detected.",
        ),
        "recall": (CONFIDENCES, curves.recall, "Recall by confidence", ""),
    }
    files: dict[str, bytes | str] = {}
    of = f"At {kind.overlap} 0.5, of each class and the mean of {len(curves.class_names)} classes."
    for name, (x, values, title, note) in figures.items():
        figure = _draw_curves((x, values), curves, title, f"{of} {note}".strip())
        files[f"{name}_curve.png"] = _png(figure)
    rows = (
        [
            name,
            f"{CONFIDENCES[i]:.3f}",
            *(f"{each[k, i]:.6f}" for each in (curves.precision, curves.recall, curves.f1)),
        ]
        for k, name in enumerate(curves.class_names)
        for i in range(len(CONFIDENCES))
    )
    files["curves.csv"] = _csv(["class", "confidence", "precision", "recall", "f1"], rows)
    by_recall = (
        [name, f"{RECALLS[i]:.2f}", f"{curves.by_recall[k, i]:.6f}"]
        for k, name in enumerate(curves.class_names)
        for i in range(len(RECALLS))
    )
    files["precision_recall.csv"] = _csv(["class", "recall", "precision"], by_recall)
    return files


def _draw_curves(
    lines: tuple[NDArray[np.float64], NDArray[np.float64]], curves: Curves, title: str, note: str
) -> Figure:
    x, values = lines
    figure = new_figure(4.3, title, note)
    axes = figure.subplots()
    for row, name in enumerate(curves.class_names):
        if len(values) <= NAMED_CLASSES:
            axes.plot(x, values[row], color=COLOURS[row], linewidth=1, label=name)
        else:
            axes.plot(x, values[row], color=OTHERS, linewidth=0.6)
    axes.plot(x, values.mean(axis=0), color=INK, linewidth=2, label="mean")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    what, _, by = title.partition(" by ")
    axes.set_xlabel(by, fontsize=TEXT, color=INK)
    axes.set_ylabel(what, fontsize=TEXT, color=INK)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    bare(axes)
    handles = axes.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", fontsize=SMALL, frameon=False, ncols=5)
    return figure


def _draw_matrix(matrix: NDArray[np.int64], names: Sequence[str], what: str) -> Figure:
    """Draw a confusion matrix; a cell's colour shows its share of the row, and its number is the count."""
    count = len(matrix)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    height = min(9.0, 2.0 + 0.3 * count)
    figure = new_figure(height, "Confusion matrix", f"{what}. Colours are shares of a row.")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    bare(axes)
    if count <= NUMBERED_CLASSES:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            colour = "white" if shares[row, column] > 0.6 else INK
            axes.text(
                column, row, matrix[row, column], ha="center", va="center", fontsize=SMALL, color=colour
            )
    if count <= LABELLED_CLASSES:
        axes.set_xticks(range(count), names, rotation=90 if count > 6 else 0)
        axes.set_yticks(range(count), names)
    axes.set_xlabel("found", fontsize=TEXT, color=FAINT)
    axes.set_ylabel("labelled", fontsize=TEXT, color=FAINT)
    return figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _csv(heading: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(heading)
    writer.writerows(rows)
    return buffer.getvalue()
