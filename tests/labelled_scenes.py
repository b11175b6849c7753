"""Folders of generated scenes as labelling tools export them, for a newcomer's walk through the project."""

import json
from pathlib import Path

import cv2

from training.data.sample import Sample
from training.data.scenes.scenes import CLASS_NAMES, ScenesDataset

_DATA_YAML = """train: ../train/images
val: ../valid/images
test: ../test/images

nc: {count}
names: {names}

roboflow:
  workspace: a-newcomer
  project: scenes
  version: 1
  license: CC BY 4.0
"""
_README = """
scenes - v1
==============================

This dataset was exported via roboflow.com
Objects are annotated in YOLOv8 format.
"""
_NOT_AN_IMAGE = "<!DOCTYPE html>\n<title>404 Not Found</title>\n"


def write_roboflow_yolo(folder: Path, counts: tuple[int, int, int], side: int) -> None:
    """Write a YOLO export as Roboflow does, with three flaws in its training images.

    One label has a row with the class 9, one image has no label file, and one image is a web page.
    """
    folder.mkdir(parents=True)
    names = list(CLASS_NAMES)
    (folder / "data.yaml").write_text(_DATA_YAML.format(count=len(names), names=names))
    (folder / "README.roboflow.txt").write_text(_README)
    for seed, (split, count) in enumerate(zip(("train", "valid", "test"), counts, strict=True)):
        for kind in ("images", "labels"):
            (folder / split / kind).mkdir(parents=True)
        scenes = ScenesDataset(count, seed=seed, image_hw=(side, side))
        for index in range(count):
            sample, stem = scenes.load(index), f"scene_{seed}_{index:03}_png.rf.{seed}{index:05}"
            _write_image(folder / split / "images" / f"{stem}.jpg", sample)
            (folder / split / "labels" / f"{stem}.txt").write_text(_yolo_rows(sample, side))
    images = sorted((folder / "train" / "images").iterdir())
    labels = sorted((folder / "train" / "labels").iterdir())
    labels[0].write_text(labels[0].read_text() + "\n9 0.5 0.5 0.25 0.25")
    labels[1].unlink()
    images[2].write_text(_NOT_AN_IMAGE)


def write_coco(folder: Path, count: int, side: int) -> None:
    """Write a COCO export with one file of labels, without a validation split."""
    (folder / "images").mkdir(parents=True)
    scenes = ScenesDataset(count, seed=3, image_hw=(side, side))
    images, objects = [], []
    for index in range(count):
        sample, file = scenes.load(index), f"scene_{index:03}.jpg"
        _write_image(folder / "images" / file, sample)
        images.append({"id": index, "file_name": f"images/{file}", "width": side, "height": side})
        for box, class_id in zip(sample.boxes_xyxy, sample.class_ids, strict=True):
            left, top, right, bottom = (round(float(value), 2) for value in box)
            bbox = [left, top, right - left, bottom - top]
            number = {"id": len(objects), "image_id": index, "category_id": int(class_id)}
            objects.append(number | {"bbox": bbox, "area": bbox[2] * bbox[3], "iscrowd": 0})
    categories = [{"id": class_id, "name": name} for class_id, name in enumerate(CLASS_NAMES)]
    labels = {"images": images, "annotations": objects, "categories": categories}
    (folder / "result.json").write_text(json.dumps(labels))


def write_video(path: Path, frames: int, side: int) -> None:
    """Write scenes one after another as an MP4 file."""
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 5, (side, side))
    scenes = ScenesDataset(frames, seed=4, image_hw=(side, side))
    for index in range(frames):
        video.write(cv2.cvtColor(scenes.load(index).image, cv2.COLOR_RGB2BGR))
    video.release()


def _write_image(path: Path, sample: Sample) -> None:
    cv2.imwrite(str(path), cv2.cvtColor(sample.image, cv2.COLOR_RGB2BGR))


def _yolo_rows(sample: Sample, side: int) -> str:
    rows = []
    for (left, top, right, bottom), class_id in zip(sample.boxes_xyxy, sample.class_ids, strict=True):
        shares = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
        rows.append(" ".join([str(class_id), *(f"{value / side:.6f}" for value in shares)]))
    return "\n".join(rows)
