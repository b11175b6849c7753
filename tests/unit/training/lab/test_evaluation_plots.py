"""The plots of an evaluation, and the numbers beside them."""

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.unit.training.command_line import failure
from tests.unit.training.evaluate.objects.random_objects import KINDS, random_images
from tests.unit.training.evaluate.test_bootstrap import NAMES, scenes
from training.__main__ import main
from training.data.evaluation import Truth
from training.data.scenes.scenes import CLASS_NAMES
from training.data_config import ScenesConfig
from training.evaluate.accuracy import accuracy
from training.evaluate.classification import ClassEvaluation
from training.evaluate.confusion import detection_confusion
from training.evaluate.evaluator import Evaluation, evaluation_of
from training.evaluate.mean_ap import mean_average_precision
from training.evaluate.routed import RoutedImages
from training.lab import evaluation_plots
from training.lab.evaluation_plots import write_plots
from training.models.detector import Detector
from training.models.variants import model_config
from training.trainer.checkpoint import save_model
from training.workflows import dataset_config


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def evaluation(names=NAMES):
    truths, found = scenes(1, 1.5)
    mean_ap = mean_average_precision(truths, found, names)
    return Evaluation(
        routed=RoutedImages(tuple(truths), {}, {}), mean_ap=mean_ap, detections=found, class_names=names
    )


def test_a_detectors_curves_and_matrix_are_written_as_images_and_numbers(tmp_path):
    names = ("cat", 'dog, "wild"', "owl", *(f"class {number}" for number in range(70)))
    result = evaluation(names)
    files = write_plots(result, tmp_path / "deep" / "plots")
    assert {path.name for path in files} == {
        "confusion_matrix.csv",
        "confusion_matrix.png",
        "curves.csv",
        "f1_curve.png",
        "precision_curve.png",
        "precision_recall.csv",
        "precision_recall_curve.png",
        "recall_curve.png",
        "report.json",
    }
    for path in files:
        if path.suffix == ".png":
            assert cv2.imread(str(path)).shape[1] == 1200
    report = json.loads((tmp_path / "deep" / "plots" / "report.json").read_text())["best_f1"]
    curves = [row for row in rows_of(tmp_path / "deep" / "plots" / "curves.csv") if row["class"] == names[1]]
    assert len(curves) == 1001
    (best,) = [row for row in curves if float(row["confidence"]) == round(report["confidence"], 3)]
    for figure in ("precision", "recall", "f1"):
        assert float(best[figure]) == pytest.approx(report["by_class"][names[1]][figure], abs=1e-6)
    matrix = rows_of(tmp_path / "deep" / "plots" / "confusion_matrix.csv")
    assert [row["labelled \\ found"] for row in matrix] == [*names, "background"]
    objects = sum(len(each.class_ids) for each in result.routed.truths)
    assert sum(int(row[name]) for row in matrix[:-1] for name in (*names, "background")) == objects


@pytest.mark.parametrize(
    ("task", "name", "score", "overlap"),
    [
        ("segment", "masks", "mask mAP50", "IoU"),
        ("pose", "keypoints", "OKS mAP50", "OKS"),
        ("obb", "corners", "rotated mAP50", "IoU"),
    ],
)
def test_plots_are_of_what_the_task_finds(tmp_path, monkeypatch, task, name, score, overlap):
    captions = []
    new_figure = evaluation_plots.new_figure
    monkeypatch.setattr(
        evaluation_plots, "new_figure", lambda *args: captions.append(args[2]) or new_figure(*args)
    )
    truths, found = random_images(name)
    result = evaluation_of(RoutedImages(tuple(truths), {}, {}), found, NAMES, task, KINDS[name])
    write_plots(result, tmp_path, conf=0.4, iou=0.6)
    assert [f"{score}: {result.mean_ap.map50:.3f}" in each for each in captions].count(True) == 1
    assert [f"At {overlap} 0.5, of each class" in each for each in captions].count(True) == 4
    assert f"at least {overlap} 0.6" in captions[-1]
    curve = rows_of(tmp_path / "precision_recall.csv")
    for class_name, expected in result.mean_ap.map50_by_class.items():
        values = [float(row["precision"]) for row in curve if row["class"] == class_name]
        assert np.mean(values) == pytest.approx(expected, abs=1e-6)
    matrix = rows_of(tmp_path / "confusion_matrix.csv")
    counts = [[int(row[column]) for column in (*NAMES, "background")] for row in matrix]
    expected = detection_confusion(truths, found, 3, conf=0.4, iou=0.6, kind=KINDS[name])
    assert counts == expected.tolist()
    assert json.loads((tmp_path / "report.json").read_text())["metric"] == score.removesuffix("50")


def test_a_lower_confidence_finds_more(tmp_path):
    sums = []
    for conf in (0.9, 0.1):
        write_plots(evaluation(), tmp_path, conf=conf)
        sums.append(sum(int(row["background"]) for row in rows_of(tmp_path / "confusion_matrix.csv")))
    assert sums[0] > sums[1]


def test_a_classifiers_matrix_is_written(tmp_path):
    names, labels = ("red", "blue"), np.array([0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]], np.float32)
    boxes = np.zeros((0, 4), np.float32)
    truths = tuple(Truth(boxes, labels[:0], (9, 9), "", image_class=int(label)) for label in labels)
    result = ClassEvaluation(
        routed=RoutedImages(truths, {}, {}),
        accuracy=accuracy(probabilities, labels, names),
        probabilities=probabilities,
    )
    files = write_plots(result, tmp_path)
    assert sorted(path.name for path in files) == [
        "confusion_matrix.csv",
        "confusion_matrix.png",
        "report.json",
    ]
    assert [list(row.values()) for row in rows_of(tmp_path / "confusion_matrix.csv")] == [
        ["red", "1", "0"],
        ["blue", "1", "1"],
    ]
    assert json.loads((tmp_path / "report.json").read_text())["by_class"] == {"red": 1.0, "blue": 0.5}


@pytest.mark.parametrize("folder", ["plots", "plots/deep"])
def test_a_file_in_the_place_of_the_plots_is_refused_before_measuring(capsys, tmp_path, folder):
    (tmp_path / "plots").write_text("")
    assert main(["evaluate", str(tmp_path / "none.safetensors"), "--plots", str(tmp_path / folder)]) == 1
    message = f"training: --plots {tmp_path / folder}: {tmp_path / 'plots'} is a file; give a folder\n"
    assert capsys.readouterr().err == message


def test_evaluate_says_precision_recall_and_f1_and_writes_plots(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(dataset_config, "SCENES_UNSEEN", ScenesConfig(images=2, image_hw=(64, 64)))
    checkpoint, plots = str(tmp_path / "model.safetensors"), tmp_path / "plots"
    model = Detector(model_config("yolov12-n", CLASS_NAMES, (64, 64)))
    save_model(Path(checkpoint), model, {"data": dataset_config.GENERATED})
    argv = ["evaluate", checkpoint, "--quiet", "--plots", str(plots), "--matrix-conf", "0.9"]
    assert main(argv) == 0
    said = capsys.readouterr()
    assert re.search(
        r"^precision [\d.]+   recall [\d.]+   F1 [\d.]+   at confidence ", said.out, re.MULTILINE
    )
    assert "precision  recall      F1  own best confidence\n" in said.out
    assert f"wrote into {plots}: report.json, " in said.err
    report = json.loads((plots / "report.json").read_text())
    assert report["best_f1"]["by_class"].keys() == report["map50_by_class"].keys()
    (tmp_path / "file").write_text("")
    assert "is a file; give a folder" in failure(
        capsys, "evaluate", checkpoint, "--plots", str(tmp_path / "file")
    )
