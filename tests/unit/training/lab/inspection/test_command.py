"""`python -m training inspect`, from a checkpoint to the table and the charts."""

import json
from dataclasses import replace

import cv2
import pytest

from training.__main__ import main
from training.config import TASK_SUFFIXES, TrainConfig
from training.config_json import to_json
from training.data.scenes.objects import RAY_SKELETON
from training.data.scenes.scenes import CLASS_NAMES, ORIENTED_CLASSES, POSED_CLASSES, ScenesDataset
from training.data_config import FolderConfig, ScenesConfig
from training.errors import DatasetError
from training.evaluate.expert_use import LayerUse
from training.lab.inspection import charts
from training.models.detector import Detector
from training.models.variants import model_config
from training.tasks.choose import task_named
from training.trainer.checkpoint import load_model, save_model
from training.workflows import dataset_config

ALL_CHARTS = {
    "experts_by_class.png",
    "experts_by_size.png",
    "experts_by_origin.png",
    "experts_by_density.png",
    "sets_by_origin.png",
    "sets_by_density.png",
    "compute_by_boxes.png",
    "examples.png",
}


def checkpoint_of(folder, variant="esmoe-n", class_names=CLASS_NAMES, **provenance):
    """Return an untrained detector."""
    path = folder / "model.safetensors"
    save_model(path, Detector(model_config(variant, class_names, (64, 64))), provenance)
    return str(path)


@pytest.fixture
def scenes(monkeypatch):
    """Few and small ones in place of those that are not seen in training."""

    def only(images):
        monkeypatch.setattr(dataset_config, "SCENES_UNSEEN", ScenesConfig(images=images, image_hw=(64, 96)))

    only(6)
    return only


@pytest.fixture
def checkpoint(tmp_path, scenes):
    return checkpoint_of(tmp_path, data=dataset_config.GENERATED)


def inspect(capsys, *argv):
    assert main(["inspect", *argv, "--quiet"]) == 0
    return capsys.readouterr().out


def refusal(capsys, *argv):
    assert main(["inspect", *argv, "--quiet"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("training: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("task", "classes", "keypoints"),
    [("segment", CLASS_NAMES, None), ("pose", POSED_CLASSES, RAY_SKELETON), ("obb", ORIENTED_CLASSES, None)],
)
def test_routing_of_every_task_is_charted(task, classes, keypoints, capsys, tmp_path, scenes):
    config = model_config(f"esmoe-n{TASK_SUFFIXES[task]}", classes, (64, 64), skeleton=keypoints)
    save_model(tmp_path / "m.safetensors", task_named(task).build(config), {"data": dataset_config.GENERATED})
    charted = tmp_path / "charts"
    text = inspect(capsys, str(tmp_path / "m.safetensors"), "--output", str(charted))
    assert text.startswith(f"{config.variant}, top_k 2; 6 images: generated scenes, seed 0\n")
    assert {path.name for path in charted.iterdir()} == ALL_CHARTS


def test_a_network_with_paths_tells_and_charts_them_too(capsys, tmp_path, scenes):
    path = checkpoint_of(tmp_path, "sparsight-path-n", data=dataset_config.GENERATED)
    charted = tmp_path / "charts"
    text = inspect(capsys, path, "--output", str(charted))
    of_paths = {"paths.png", "paths_by_origin.png", "paths_by_density.png"}
    assert {each.name for each in charted.iterdir()} == ALL_CHARTS | of_paths
    for name in of_paths:
        assert cv2.imread(str(charted / name)).shape[1] == 1200
    for said in ("bit in the choice among 8", "experts of each path, best first", "1.5 bit in the path: "):
        assert said in text
    assert max(map(len, text.splitlines())) <= 110
    data = json.loads(inspect(capsys, path, "--json"))
    assert len(data["paths"]["table"]) == len(data["paths"]["share"]) == 8
    assert sum(data["paths"]["share"]) == pytest.approx(1)
    assert len(data["goals"]) == 4 + 3
    assert "path" not in data, "a control of the network is none of the request"


def test_the_table_has_every_layer_and_every_goal(capsys, checkpoint):
    text = inspect(capsys, checkpoint)
    assert text.startswith("esmoe-n, top_k 2; 6 images: generated scenes, seed 0\n")
    for layer in ("backbone.p2", "backbone.p3", "backbone.p4", "backbone.p5"):
        assert text.count(f"\n{layer} ") == 2, "once for the routing, once for its experts"
    assert "origin: microscope (2), aquarium (2), table (2)" in text
    for goal in ("0.5 bit in half", "every expert", "NMI with origin", "NMI with density"):
        assert goal in text
    assert max(map(len, text.splitlines())) <= 110


def test_json_says_the_same(capsys, checkpoint):
    data = json.loads(inspect(capsys, checkpoint, "--json"))
    assert (data["variant"], data["top_k"], data["images"]) == ("esmoe-n", 2, 6)
    assert data["groups"]["origin"] == {"microscope": 2, "aquarium": 2, "table": 2}
    for layer in data["layers"]:
        assert sum(layer["expert_share"]) == pytest.approx(2)
        assert set(layer["dependence"]) == {"origin", "density"}
        assert layer["verdict"] in ("routes", "weak", "static")
        assert 0 < layer["dependence"]["origin"]["p_value"] <= 1
    assert data["compute"]["fixed"] < data["compute"]["mean"] < data["compute"]["dense"]
    assert len(data["goals"]) == 4


def test_top_k_is_what_it_is_told(capsys, checkpoint):
    data = json.loads(inspect(capsys, checkpoint, "--json", "--top-k", "4"))
    assert all(layer["expert_share"] == [1, 1, 1, 1] for layer in data["layers"])
    assert data["compute"]["mean"] == pytest.approx(data["compute"]["dense"])


def test_charts_are_drawn_large_enough_to_read(capsys, checkpoint, tmp_path):
    folder = tmp_path / "charts"
    inspect(capsys, checkpoint, "--output", str(folder), "--layer", "backbone.p5")
    assert {path.name for path in folder.iterdir()} == ALL_CHARTS
    for path in folder.iterdir():
        assert cv2.imread(str(path)).shape[1] == 1200
    assert not list(tmp_path.glob(".*")), "nothing is left beside"


def test_one_image_is_told_and_drawn_without_groups(capsys, scenes, checkpoint, tmp_path):
    scenes(1)
    text = inspect(capsys, checkpoint, "--output", str(tmp_path / "one"))
    assert "no groups to compare with" in text
    assert "STATIC" in text
    drawn = {path.name for path in (tmp_path / "one").iterdir()}
    assert drawn == {name for name in ALL_CHARTS if "origin" not in name and "density" not in name}


def test_charts_are_whole_or_not_there(capsys, monkeypatch, checkpoint, tmp_path):
    folder = tmp_path / "charts"
    folder.mkdir()
    (folder / "compute_by_boxes.png").write_bytes(b"of an earlier time")

    def unreadable(*_):
        raise DatasetError("scene 3 cannot be read")

    monkeypatch.setattr(charts, "size_rows", unreadable)  # one chart has been drawn by then
    assert main(["inspect", checkpoint, "--quiet", "--output", str(folder)]) == 1
    assert "scene 3 cannot be read" in capsys.readouterr().err
    assert [path.read_bytes() for path in folder.iterdir()] == [b"of an earlier time"]
    assert not list(tmp_path.glob(".*"))


def test_a_model_without_a_mixture_has_nothing_to_inspect(capsys, tmp_path, scenes):
    dense = checkpoint_of(tmp_path, "yolov12-n", data=dataset_config.GENERATED)
    assert "yolov12-n has no mixture of experts" in refusal(capsys, dense)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--top-k", "5"], "top_k=5: esmoe-n can run with 1, 2, 3, 4"),
        (["--data", "gone"], "gone: no such folder"),
        (["--output", "gone/charts"], "no folder gone to make charts in"),
        (["--output", "model.safetensors"], "model.safetensors is a file"),
    ],
)
def test_what_cannot_be_inspected_is_one_line_and_1(capsys, monkeypatch, checkpoint, tmp_path, argv, message):
    monkeypatch.chdir(tmp_path)
    assert message in refusal(capsys, checkpoint, *argv)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_no_expert_at_all_is_no_routing(capsys, tmp_path, scenes):
    shared = checkpoint_of(tmp_path, "ultra-n", data=dataset_config.GENERATED)
    assert "top_k=0 chooses no expert" in refusal(capsys, shared, "--top-k", "0")


def test_a_layer_that_is_not_there_is_said_before_any_data_is_looked_at(capsys, checkpoint, tmp_path):
    argv = [checkpoint, "--data", "gone", "--output", str(tmp_path / "charts"), "--layer"]
    message = (
        "no mixture in 'neck.p3'; layers with mixtures: backbone.p2, backbone.p3, backbone.p4, backbone.p5\n"
    )
    assert message in refusal(capsys, *argv, "neck.p3")
    assert "gone: no such folder" in refusal(capsys, *argv, "backbone.p5")
    assert not (tmp_path / "charts").exists()
    dense = checkpoint_of(tmp_path, "yolov12-n", data=dataset_config.GENERATED)
    argv[0] = dense
    argv[1:3] = []
    assert "yolov12-n has no mixture of experts" in refusal(capsys, *argv, "neck.p3")


def test_a_layer_without_a_folder_for_its_charts_is_wrong_usage(capsys):
    assert main(["inspect", "model.safetensors", "--layer", "backbone.p5"]) == 2
    assert "--layer selects the images that --output draws: give --output" in capsys.readouterr().err


def test_generated_scenes_have_no_splits(capsys, checkpoint):
    assert "generated scenes have no splits" in refusal(capsys, checkpoint, "--split", "train")


def use_of(layer, bits, sets):
    return LayerUse(layer, bits, (1.0,), (1.0,), sets, 1.0, 0.0)


@pytest.mark.parametrize(
    ("uses", "layer"),
    [
        pytest.param([use_of("p4", 0.2, 3), use_of("p5", 0.7, 3)], "p5", id="most bits"),
        pytest.param([use_of("p4", 0.2, 3), use_of("p5", 0.7, 1)], "p4", id="one set shows nothing"),
        pytest.param([use_of("p4", 0.2, 1), use_of("p5", 0.7, 1)], "p5", id="where none shows anything"),
    ],
)
def test_examples_are_of_the_layer_that_tells_most(uses, layer):
    assert charts.telling_layer(uses) == layer


def test_a_checkpoint_that_does_not_say_its_data_asks_for_a_folder(capsys, tmp_path):
    assert "give a folder with --data" in refusal(capsys, checkpoint_of(tmp_path))


def write_voc(folder, class_name, images):
    """Images with one more object in each, as VOC keeps them, for the splits train and val."""
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    names = [f"{folder.name}{index}" for index in range(images)]
    for split in ("train", "val"):
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names))
    scenes = ScenesDataset(images, 0, (64, 64))
    for index, name in enumerate(names):
        cv2.imwrite(str(folder / "JPEGImages" / f"{name}.jpg"), scenes.load(index).image)
        box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>"
        objects = f"<object><name>{class_name}</name>{box}</object>" * (index + 1)
        (folder / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><filename>{name}.jpg</filename><size><width>64</width><height>64</height>"
            f"<depth>3</depth></size>{objects}</annotation>"
        )


def test_a_folder_has_one_origin(capsys, tmp_path):
    write_voc(tmp_path / "cells", "cell", 3)
    path = checkpoint_of(tmp_path, class_names=("cell",))
    read = json.loads(inspect(capsys, path, "--json", "--data", str(tmp_path / "cells"), "--split", "train"))
    assert list(read["groups"]) == ["density"]


@pytest.fixture
def small_starter(tmp_path):
    """Return the three data sets of the starter, of few images."""
    root = tmp_path / "somebody" / "data"
    write_voc(root / "bccd", "cell", 3)
    write_voc(root / "playing_cards", "card", 6)
    write_voc(root / "aquarium", "fish", 2)
    (root / "aquarium" / "ImageSets" / "Main" / "valid.txt").write_text("aquarium0\naquarium1")
    return root


def test_a_checkpoint_of_the_starter_is_inspected_on_what_its_run_validated_on(
    capsys, tmp_path, small_starter
):
    path = tmp_path / "run" / "model.safetensors"
    argv = ["--recipe", "starter", "--data", str(small_starter), "--run", str(path.parent)]
    assert main(["train", *argv, "--input", "64", "--epochs", "1", "--mosaic", "0", "--quiet"]) == 0
    assert load_model(path)[1]["data"] == "starter"
    assert b"somebody" not in path.read_bytes(), "a checkpoint is given to others: no folder of this machine"
    capsys.readouterr()
    data = json.loads(inspect(capsys, str(path), "--json"))
    assert data["groups"]["origin"] == {"bccd": 3, "aquarium": 2, "playing_cards": 2}, "every fifth card"
    assert data["data"] == "bccd val + aquarium valid + playing_cards train, fold 0 of 5"
    again = inspect(capsys, str(path), "--json", "--data", str(small_starter), "--recipe", "starter")
    assert json.loads(again)["groups"] == data["groups"]
    assert "joined several folders without a split test; give --data" in refusal(
        capsys, str(path), "--split", "test"
    )
    path.rename(tmp_path / "alone.safetensors")
    said = refusal(capsys, str(tmp_path / "alone.safetensors"))
    assert "trained on starter, but there is no config.json beside" in said


def run_of(folder, data, val_split):
    """Return a checkpoint beside the configuration of a run on a folder."""
    data = FolderConfig(root=str(data))
    val_data = val_split and replace(data, split=val_split)
    model = model_config("esmoe-n", ("cell",), (64, 64))
    config = TrainConfig(model=model, train_data=data, val_data=val_data)
    (folder / "config.json").write_text(to_json(config))
    return checkpoint_of(folder, class_names=("cell",), data="cells train")


def test_without_a_folder_it_is_the_validation_split_of_the_run_or_another_of_its_folder(capsys, tmp_path):
    write_voc(tmp_path / "cells", "cell", 3)
    splits = tmp_path / "cells" / "ImageSets" / "Main"
    (splits / "val.txt").rename(splits / "late.txt")
    path = run_of(tmp_path, tmp_path / "cells", "late")
    assert json.loads(inspect(capsys, path, "--json"))["data"] == "cells late"
    assert json.loads(inspect(capsys, path, "--json", "--split", "train"))["data"] == "cells train"


def test_a_run_that_validated_on_nothing_asks_for_a_folder(capsys, tmp_path):
    assert "had no validation data; give --data" in refusal(capsys, run_of(tmp_path, tmp_path, None))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{}", "not a training configuration"), (b"{", "not JSON"), (b"\xff", "can't decode byte 0xff")],
)
def test_a_configuration_that_is_none_is_named(capsys, tmp_path, content, message):
    path = run_of(tmp_path, tmp_path, None)
    (tmp_path / "config.json").write_bytes(content)
    said = refusal(capsys, path)
    assert f"{tmp_path / 'config.json'}: " in said
    assert message in said
    assert said.rstrip().endswith("give --data")
