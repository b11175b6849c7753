"""Training and evaluation on a folder, and the log messages about its labels."""

import json

import pytest

from tests.unit.training.data.small_data import write_image
from training.__main__ import main


@pytest.fixture
def coco(tmp_path):
    """Two images to train on and two to validate; each split has a crowd and an image that is missing."""
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for split in ("train2017", "val2017"):
        width = 64 + (split == "val2017")
        box = {"image_id": 1, "category_id": 90, "bbox": [8, 8, 40, 30], "area": 700.5, "iscrowd": 0}
        crowd = {"image_id": 2, "category_id": 1, "bbox": [0, 0, 60, 40], "area": 900, "iscrowd": 1}
        document = {
            "images": [
                {"id": number, "file_name": f"{number}.png", "height": 48, "width": width}
                for number in (1, 2, 3)
            ],
            "annotations": [{**box, "id": 1}, {**crowd, "id": 2}],
            "categories": [{"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}],
        }
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(document))
        for number in (1, 2):
            write_image(root / split / f"{number}.png", (48, width))
    return root


def test_a_coco_folder_trains_and_is_measured_and_what_is_left_out_is_said(capsys, tmp_path, coco):
    run = tmp_path / "run"
    options = ["--variant", "yolov12-n", "--input", "64", "--epochs", "1", "--batch", "2", "--quiet"]
    assert main(["train", "--run", str(run), "--data", str(coco), *options]) == 0
    said = capsys.readouterr().out
    remarks = "images whose file is missing, left out: 1; crowds, ignored: 1"
    assert f"training labels: {remarks}\n" in said
    assert f"validation labels: {remarks}\n" in said
    assert "flatters" not in said

    assert main(["evaluate", str(run / "model.safetensors"), "--data", str(coco), "--json", "--quiet"]) == 0
    captured = capsys.readouterr()
    unlabelled = "labels: classes that nobody labelled, left out of the mean: person"
    # Beside the answer, which a machine may read.
    assert captured.err == f"measuring on split val of {coco}\nlabels: {remarks}\n{unlabelled}\n"
    result = json.loads(captured.out)
    assert result["images"] == 2
    assert list(result["map50_by_class"]) == ["toothbrush"]
    assert result["map50_95_small"] == pytest.approx(result["map50_95"])  # 700.5 of outline, 1200 of box
    assert result["map50_95_medium"] is None

    assert main(["evaluate", str(run / "model.safetensors"), "--data", str(coco), "--quiet"]) == 0
    small = f"mAP50-95 small {result['map50_95_small']:.4f}   medium -   large -   AR1 {result['ar1']:.4f}"
    assert small in capsys.readouterr().out

    names = coco / "annotations" / "instances_val2017.json"
    names.write_text(names.read_text().replace("person", "horse"))
    assert main(["evaluate", str(run / "model.safetensors"), "--data", str(coco), "--quiet"]) == 0
    assert "toothbrush" in capsys.readouterr().out  # the classes in common are measured
    names.write_text(names.read_text().replace("toothbrush", "whale"))
    assert main(["evaluate", str(run / "model.safetensors"), "--data", str(coco), "--quiet"]) == 1
    error = capsys.readouterr().err
    assert "labels horse, whale, but the model knows person, toothbrush: they have no class in" in error


def test_to_validate_on_what_is_trained_on_is_said_to_flatter(capsys, tmp_path, coco):
    options = ["--variant", "yolov12-n", "--input", "64", "--epochs", "1", "--batch", "2", "--quiet"]
    argv = ["train", "--run", str(tmp_path / "run"), "--data", str(coco), *options]
    assert main([*argv, "--val-split", "train"]) == 0
    assert "validating on what is trained on, which flatters the mAP50-95" in capsys.readouterr().out
