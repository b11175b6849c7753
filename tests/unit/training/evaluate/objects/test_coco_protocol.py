"""AP of masks, keypoints and oriented boxes is that of the COCO API (pycocotools) on random data.

The API knows no oriented boxes: its protocol runs on overlaps of polygons, which shapely computes.
"""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from shapely import Polygon

from tests.unit.training.evaluate.objects.random_objects import (
    CLASSES,
    KINDS,
    SIGMAS,
    coco_labels,
    coco_results,
    random_images,
)
from training.evaluate.matches import ignored_shares, match_by_class
from training.evaluate.mean_ap import mean_average_precision

IOU_TYPES = {"masks": "segm", "keypoints": "keypoints", "corners": "bbox"}
NAMES = ("disc", "ring", "star")
AP = ("map50_95", "map50", "map75")
OF_SIZES = ("map50_95_small", "map50_95_medium", "map50_95_large")
RECALLS = ("ar1", "ar10", "ar100", "ar100_small", "ar100_medium", "ar100_large")
IN_ORDER = {
    "masks": AP + OF_SIZES + RECALLS,
    "corners": AP + OF_SIZES + RECALLS,
    "keypoints": (*AP, *OF_SIZES[1:], "ar20"),
}


class PolygonEvaluation(COCOeval):
    """The protocol of the COCO API with polygons."""

    def computeIoU(self, imgId, catId):  # noqa: N802, N803 names of COCO
        """Return the overlaps of detections, best first, with labels; of a crowd, the share inside it."""
        labelled, found = self._gts[imgId, catId], self._dts[imgId, catId]
        if not labelled or not found:
            return []
        order = np.argsort([-row["score"] for row in found], kind="mergesort")[: self.params.maxDets[-1]]
        overlaps = np.zeros((len(order), len(labelled)))
        for row, place in enumerate(order):
            for column, label in enumerate(labelled):
                one, other = Polygon(found[place]["corners"]), Polygon(label["corners"])
                whole = one.area if label["iscrowd"] else one.union(other).area
                overlaps[row, column] = one.intersection(other).area / whole
        return overlaps


@pytest.fixture(scope="module", params=list(KINDS))
def case(request):
    """The kind's name, labels, detections, and the API's evaluation of them."""
    name = request.param
    truths, detections = random_images(name)
    with contextlib.redirect_stdout(io.StringIO()):
        labels = COCO()
        labels.dataset = coco_labels(truths, name)
        labels.createIndex()
        results = labels.loadRes(coco_results(detections, name))
        evaluation = (PolygonEvaluation if name == "corners" else COCOeval)(labels, results, IOU_TYPES[name])
        if name == "keypoints":
            evaluation.params.kpt_oks_sigmas = np.array(SIGMAS)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return name, truths, detections, evaluation


def test_the_data_has_all_that_the_protocol_treats_specially(case):
    name, truths, detections, _ = case
    assert sum(len(truth.ignored_xyxy) for truth in truths) > 10
    assert {len(truth.class_ids) == 0 for truth in truths} == {True, False}
    assert {len(found.scores) == 0 for found in detections} == {True, False}
    assert (detections[0].class_ids == 1).sum() > 100
    if name == "keypoints":
        unlabelled = [(truth.keypoints[..., 2] == 0).all(axis=1).any() for truth in truths]
        assert sum(unlabelled) > 5
    if name == "masks":
        assert {truth.ignored_masks is None for truth in truths} == {True, False}


def test_every_figure_is_that_of_the_api(case):
    name, truths, detections, evaluation = case
    ours = mean_average_precision(truths, detections, NAMES, KINDS[name])
    expected = evaluation.stats.tolist()
    if name == "keypoints":
        expected = expected[:6]
    assert 0.1 < ours.map50_95 < 0.9
    np.testing.assert_allclose([getattr(ours, each) for each in IN_ORDER[name]], expected, atol=1e-6, rtol=0)
    precision = evaluation.eval["precision"][..., 0, -1]  # (thresholds, recalls, classes)
    np.testing.assert_allclose(list(ours.map50_by_class.values()), precision[0].mean(axis=0), atol=1e-6)
    by_class = precision.mean(axis=(0, 1))
    np.testing.assert_allclose(list(ours.map50_95_by_class.values()), by_class, atol=1e-6)


@pytest.mark.parametrize("iou", [0.5, 0.75])
def test_matches_are_those_of_the_api(case, iou):
    name, truths, detections, evaluation = case
    ours = match_by_class(truths, detections, CLASSES, iou, kind=KINDS[name])
    threshold = {0.5: 0, 0.75: 5}[iou]
    whole = [each for each in evaluation.evalImgs if each and each["aRng"] == evaluation.params.areaRng[0]]
    for class_id in range(CLASSES):
        of_class = [each for each in whole if each["category_id"] == class_id]
        expected = [
            (score, bool(match))
            for each in of_class
            for score, match, ignored in zip(
                each["dtScores"], each["dtMatches"][threshold], each["dtIgnore"][threshold], strict=True
            )
            if not ignored
        ]
        mine = ours.class_ids == class_id
        found = list(zip(ours.scores[mine].tolist(), ours.right[mine].tolist(), strict=True))
        assert sorted(found) == sorted(expected)
        assert ours.objects[class_id] == sum((~np.array(each["gtIgnore"], bool)).sum() for each in of_class)
        assert 0 < ours.right[mine].sum() < mine.sum()


def test_overlaps_and_shares_of_ignored_regions_are_those_of_the_api(case):
    name, truths, detections, evaluation = case
    kind = KINDS[name]
    inside = 0
    for image, (truth, found) in enumerate(zip(truths, detections, strict=True)):
        overlaps, shares = kind.overlaps(found, truth), kind.shares_ignored(found, truth)
        for class_id in range(CLASSES):
            expected = np.array(evaluation.ious[image, class_id])
            if not expected.size:
                continue
            regions = np.full(len(truth.ignored_xyxy), -1)
            if truth.ignored_class_ids is not None:
                regions = truth.ignored_class_ids
            columns = np.isin(regions, (-1, class_id))
            both = np.concatenate([overlaps[:, truth.class_ids == class_id], shares[:, columns]], axis=1)
            mine = found.class_ids == class_id
            np.testing.assert_allclose(both[mine][: len(expected)], expected, atol=1e-6)
            inside += (ignored_shares(found, truth, kind)[mine] >= 0.5).sum()
    assert inside > 3
