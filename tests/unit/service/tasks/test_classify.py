"""Classification returns the requested number of classes, best first."""

import json
from dataclasses import replace

import numpy as np
import pytest

from service.artifact.golden import load_golden
from service.artifact.manifest import parse_manifest
from service.errors import ArtifactBroken, ArtifactMismatch, BackendFailed
from service.request import DetectParams
from service.tasks.choose import task_of
from service.tasks.classify import Classes, ClassifyTask
from service.tasks.resolve import resolve


def best(manifest, probabilities, **asked):
    outputs = {"probabilities": np.array([probabilities], np.float32)}
    resolved = resolve(DetectParams(**asked), manifest)
    result = ClassifyTask(manifest).read(outputs, resolved, placed=None)
    return list(zip(result.class_ids.tolist(), result.scores.round(3).tolist(), strict=True))


def test_the_default_is_how_many_the_manifest_says(classifier):
    assert [class_id for class_id, _ in best(classifier.manifest, [0.2, 0.5, 0.3])] == [1, 2]


@pytest.mark.parametrize(("top", "expected"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 0]), (10_000, [1, 2, 0])])
def test_as_many_as_asked_for_and_no_more_than_there_are(classifier, top, expected):
    found = best(classifier.manifest, [0.2, 0.5, 0.3], values={"top": top})
    assert [class_id for class_id, _ in found] == expected


def test_equal_classes_come_in_the_order_of_their_ids(classifier):
    found = best(classifier.manifest, [0.3, 0.4, 0.3], values={"top": 3})
    assert [class_id for class_id, _ in found] == [1, 0, 2]


def test_only_the_classes_that_are_asked_for_are_told(classifier):
    found = best(classifier.manifest, [0.2, 0.5, 0.3], classes="red,blue", values={"top": 3})
    assert [class_id for class_id, _ in found] == [2, 0]


def test_a_prediction_has_no_box(classifier):
    task = task_of(classifier.manifest)
    (told,) = task.describe(Classes(np.array([2]), np.array([0.25], np.float32)))
    assert told.model_dump() == {"class": "blue", "class_id": 2, "confidence": 0.25}
    assert task.drawn_as == "labels"


def replayed(*rows):
    """Each row is a class and its score."""
    return Classes(np.array([row[0] for row in rows]), np.array([row[1] for row in rows], np.float32))


def golden_of(classifier, *rows):
    ids, scores = np.array([row[0] for row in rows]), np.array([row[1] for row in rows], np.float32)
    golden = load_golden(classifier)
    return replace(golden, arrays=dict(golden.arrays) | {"cls_class_ids": ids, "cls_scores": scores})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_probabilities_that_are_no_numbers_are_no_answer(classifier, value):
    with pytest.raises(BackendFailed, match="probability that is not finite"):
        best(classifier.manifest, [0.2, value, 0.3])


def test_a_sample_whose_arrays_do_not_fit_each_other_is_broken(classifier):
    golden = golden_of(classifier, *WANTED)
    torn = replace(golden, arrays=dict(golden.arrays) | {"cls_scores": np.array([0.6], np.float32)})
    with pytest.raises(ArtifactBroken, match="3 cls_class_ids, 1 cls_scores"):
        ClassifyTask(classifier.manifest).compare(replayed(*WANTED), torn)


WANTED = ((0, 0.6), (1, 0.3), (2, 0.3))


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        pytest.param(WANTED, None, id="equal"),
        pytest.param(((0, 0.60009), (1, 0.3), (2, 0.3)), None, id="within the tolerance"),
        pytest.param(((0, 0.6), (2, 0.3), (1, 0.3)), None, id="two as likely swap places"),
        pytest.param(((0, 0.7), (1, 0.3), (2, 0.3)), "class .place 0. differs by 0.1", id="score"),
        pytest.param(((1, 0.6), (0, 0.3), (2, 0.3)), "class .place 0. differs by 0.3", id="another class"),
        pytest.param(((0, float("nan")), (1, 0.3), (2, 0.3)), "differs by nan", id="NaN"),
        pytest.param(WANTED[:2], "classes .2 of 3.", id="one too few"),
    ],
)
def test_a_replay_is_compared_by_class_and_score(classifier, rows, sentence):
    task, golden = ClassifyTask(classifier.manifest), golden_of(classifier, *WANTED)
    if sentence is None:
        task.compare(replayed(*rows), golden)
    else:
        with pytest.raises(ArtifactMismatch, match=sentence):
            task.compare(replayed(*rows), golden)


def test_settings_of_another_task_are_refused(tiny, classifier):
    document = json.loads((classifier.folder / "manifest.json").read_text())
    document["task_settings"] = tiny.manifest["task_settings"]
    with pytest.raises(ArtifactBroken, match="not the settings of task classify"):
        parse_manifest(json.dumps(document).encode(), "manifest.json")
