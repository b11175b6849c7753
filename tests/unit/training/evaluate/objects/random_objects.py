"""Random labels and detections of each kind of objects, and what the COCO API takes of them."""

from dataclasses import replace

import numpy as np
from pycocotools import mask as coco_mask

from training.data.evaluation import Truth
from training.data.masks import Mask, RunLengths
from training.evaluate.detections import Detections
from training.evaluate.objects.corners import CORNERS
from training.evaluate.objects.keypoints import Keypoints
from training.evaluate.objects.masks import MASKS

CLASSES = 3
IMAGE_HW = (260, 340)
SIGMAS = (0.03, 0.05, 0.08, 0.1, 0.07)
KINDS = {"masks": MASKS, "keypoints": Keypoints(SIGMAS), "corners": CORNERS}


def random_images(name, *, seed=0, images=24):
    """Return the labels and detections of images: with ignored regions, empty images, ties and stated areas.

    The first image has more detections than the COCO API counts. Some labelled poses have no keypoint.
    """
    rng = np.random.default_rng(seed)
    one = {"masks": _masks, "keypoints": _keypoints, "corners": _corners}[name]
    truths, detections = [], []
    for image in range(images):
        objects = 0 if image % 8 == 7 else int(rng.integers(1, 8))
        spots = np.column_stack(
            [rng.uniform((20, 20), (320, 240), (objects, 2)), rng.uniform(5, 75, objects)]
        )
        ids = rng.integers(CLASSES, size=objects)
        truth = one(rng, spots, ids)
        areas = np.where(rng.random(objects) < 0.5, np.nan, rng.uniform(200, 15000, objects))
        regions = int(rng.integers(0, 3))
        low = rng.uniform((0, 0), (200, 150), (regions, 2))
        ignored = np.concatenate([low, low + rng.uniform(30, 110, (regions, 2))], axis=1).round(2)
        truth = replace(
            truth,
            name=str(image),
            areas=areas if image % 3 else None,
            ignored_xyxy=ignored.astype(np.float32),
            ignored_class_ids=rng.integers(-1, CLASSES, size=regions) if image % 2 else None,
            ignored_masks=tuple(_blob(rng, *_middle(box)) for box in ignored)
            if name == "masks" and image % 4
            else None,
        )
        # Each object is found once or twice, more or less exactly; others are found where nothing is, or in
        # ignored regions.
        again = np.repeat(np.arange(objects), rng.integers(0, 3, objects))
        moved = spots[again] + rng.normal(0, spots[again, 2:] * rng.choice([0.01, 0.06, 0.2]))
        false = rng.uniform((10, 10, 5), (330, 250, 60), (120 if image == 0 else 3, 3))
        inside = np.array([_middle(box)[:3] for box in ignored]).reshape(-1, 3)
        places = np.concatenate([moved, false, inside]) if image % 6 != 5 else moved[:0]
        found_ids = np.concatenate([ids[again], rng.integers(CLASSES, size=len(places))])[: len(places)]
        if image == 0:
            found_ids[len(again) :] = 1
        found = one(rng, places, found_ids, exact=[truth, again] if len(again) and len(places) else None)
        scores = -np.sort(-rng.random(len(places)).round(2).astype(np.float32))
        order = rng.permutation(len(places))
        detections.append(
            Detections(
                found.boxes_xyxy[order],
                scores,
                found.class_ids[order],
                found.masks and tuple(RunLengths.of(found.masks[place], IMAGE_HW) for place in order),
                None if found.keypoints is None else found.keypoints[order],
                None if found.corners is None else found.corners[order],
            )
        )
        truths.append(truth)
    return truths, detections


def coco_labels(truths, kind):
    """Return the labels as a COCO file, from the arrays of the labels alone."""
    rows = []

    def add(image, category, box, row):
        x1, y1, x2, y2 = map(float, box)
        bbox = [round(side, 3) for side in (x1, y1, x2 - x1, y2 - y1)]
        names = {"id": len(rows) + 1, "image_id": image, "category_id": int(category), "bbox": bbox}
        rows.append({**names, "area": bbox[2] * bbox[3], **row})

    for image, truth in enumerate(truths):
        for place, class_id in enumerate(truth.class_ids):
            row = {"iscrowd": 0, **_shape(truth, place, kind)}
            if kind != "corners" and truth.areas is not None and not np.isnan(truth.areas[place]):
                row["area"] = float(truth.areas[place])
            add(image, class_id, truth.boxes_xyxy[place], row)
        for place, box in enumerate(truth.ignored_xyxy):
            of = -1 if truth.ignored_class_ids is None else truth.ignored_class_ids[place]
            for class_id in range(CLASSES) if of == -1 else [of]:
                add(image, class_id, box, {"iscrowd": 1, **_region(truth, place, kind)})
    return {
        "info": {},
        "images": [{"id": i, "height": IMAGE_HW[0], "width": IMAGE_HW[1]} for i in range(len(truths))],
        "annotations": rows,
        "categories": [{"id": class_id, "name": str(class_id)} for class_id in range(CLASSES)],
    }


def _shape(truth, place, kind):
    if kind == "masks":
        whole = truth.masks[place].on(IMAGE_HW)
        return {"segmentation": encoded(whole), "area": float(whole.sum())}
    if kind == "corners":
        corners = truth.corners[place]
        return {"corners": corners, "area": float(np.prod(sides(corners)))}
    points = truth.keypoints[place].astype(float)
    return {"keypoints": points.ravel().tolist(), "num_keypoints": int((points[:, 2] > 0).sum())}


def _region(truth, place, kind):
    box = truth.ignored_xyxy[place]
    if kind == "keypoints":
        return {"keypoints": [0] * 15, "num_keypoints": 0}
    if kind == "corners":
        return {"corners": box[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2)}
    if truth.ignored_masks is None:
        return {"segmentation": encoded(centres_inside(box))}
    return {"segmentation": encoded(truth.ignored_masks[place].on(IMAGE_HW))}


def coco_results(detections, kind):
    """Return the detections as a COCO result."""
    rows = []
    for image, found in enumerate(detections):
        for place, class_id in enumerate(found.class_ids):
            row = {"image_id": image, "category_id": int(class_id), "score": float(found.scores[place])}
            if kind == "masks":
                row["segmentation"] = encoded(found.masks[place].bitmap())
            if kind == "keypoints":
                row["keypoints"] = found.keypoints[place].astype(float).ravel().tolist()
            if kind == "corners":
                row |= {"bbox": [0, 0, *sides(found.corners[place])], "corners": found.corners[place]}
            rows.append(row)
    return rows


def encoded(whole):
    """Return a mask (H, W) as the COCO API's run lengths."""
    return coco_mask.encode(np.asfortranarray(whole, dtype=np.uint8))


def sides(corners):
    """Return width and height of an oriented box, (4, 2)."""
    corners = corners.astype(float)
    return [float(np.linalg.norm(corners[end] - corners[start])) for start, end in ((0, 1), (1, 2))]


def centres_inside(box):
    """Return which pixels have their centres inside a box, (H, W)."""
    y, x = np.mgrid[: IMAGE_HW[0], : IMAGE_HW[1]] + 0.5
    return (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])


def _middle(box):
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, (box[2] - box[0]) / 2, (box[3] - box[1]) / 2


def _blob(rng, x, y, wide, high):
    """Return an ellipse with a corner of the box around it filled: no mask looks like another."""
    rows, columns = np.mgrid[: IMAGE_HW[0], : IMAGE_HW[1]] + 0.5
    across, down = (columns - x) / max(wide, 2), (rows - y) / max(high, 2)
    return Mask.of((across**2 + down**2 < 1) | ((across > 0) & (across < 1) & (down > 0) & (down < 0.8)))


def _box_of(mask):
    height, width = mask.bitmap.shape
    return mask.left, mask.top, mask.left + width, mask.top + height


def _truth(boxes, ids, **more):
    return Truth(np.array(boxes, np.float32).reshape(-1, 4), np.asarray(ids, np.int64), IMAGE_HW, "", **more)


def _masks(rng, spots, ids, exact=None):
    masks = tuple(_blob(rng, x, y, size, size * 0.7) for x, y, size in spots)
    return _truth([_box_of(mask) for mask in masks], ids, masks=masks)


def _keypoints(rng, spots, ids, exact=None):
    points = np.zeros((len(spots), 5, 3), np.float32)
    if exact is None:
        points[..., :2] = spots[:, None, :2] + rng.normal(0, 0.5, (len(spots), 5, 2)) * spots[:, None, 2:]
        points[..., 2] = rng.integers(0, 3, (len(spots), 5))
        points[rng.random(len(spots)) < 0.2] = 0
        points[points[..., 2] == 0] = 0
    else:
        truth, again = exact
        points[..., :2] = spots[:, None, :2]
        near = truth.keypoints[again]
        near = np.where(near[..., 2:] > 0, near, points[: len(again)])  # where none is labelled, its middle
        extent = spots[: len(again), None, 2:] * rng.choice([0.02, 0.1, 0.3], (len(again), 1, 1))
        points[: len(again), :, :2] = near[..., :2] + rng.normal(0, 1, (len(again), 5, 2)) * np.abs(extent)
        points[..., 2] = rng.random((len(spots), 5))
    low, high = spots[:, :2] - np.abs(spots[:, 2:]), spots[:, :2] + np.abs(spots[:, 2:])
    return _truth(np.concatenate([low, high], axis=1).round(2), ids, keypoints=points)


def _corners(rng, spots, ids, exact=None):
    angles = rng.uniform(0, np.pi, len(spots))
    wide = np.abs(spots[:, 2])
    high = wide * rng.uniform(0.2, 1.2, len(spots))
    if exact is not None:
        truth, again = exact
        first, second, third, _ = np.moveaxis(truth.corners[again].astype(float), 1, 0)
        angles[: len(again)] = np.arctan2(*(second - first)[:, ::-1].T) + rng.normal(0, 0.05, len(again))
        wide[: len(again)] = np.linalg.norm(second - first, axis=1) / 2
        high[: len(again)] = np.linalg.norm(third - second, axis=1) / 2
    along = np.column_stack([np.cos(angles), np.sin(angles)]) * wide[:, None]
    across = np.column_stack([-np.sin(angles), np.cos(angles)]) * high[:, None]
    middle = spots[:, :2]
    corners = np.stack(
        [middle - along - across, middle + along - across, middle + along + across, middle - along + across],
        axis=1,
    ).astype(np.float32)
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    return _truth(boxes, ids, corners=corners)
