"""The recipes of the five benchmarks: their data, folders and settings."""

import json
from dataclasses import replace

import pytest

from tests.unit.training.data.small_data import write_image, write_xml
from training.__main__ import main
from training.data.labels.remarks import ALIKE
from training.data.labels.rows import ANY_CLASS
from training.data.open import open_dataset
from training.data_config import FolderConfig, ScenesConfig
from training.download.catalogue import BENCHMARKS
from training.errors import ConfigError
from training.models.detector import Detector
from training.models.variants import model_config
from training.recipes.recipe_data import BENCHMARK_RECIPES, RECIPES_WITH_DATA, VOC_CLASSES, recipe_splits
from training.recipes.recipes import RECIPES, Request, build_config, paper
from training.trainer.checkpoint import save_model
from training.workflows.train import TrainOptions, data_configs

REQUEST = Request(class_names=("a",), train_data=ScenesConfig())


def test_every_data_set_that_can_be_downloaded_has_a_recipe_and_the_other_way_round():
    assert tuple(benchmark.name for benchmark in BENCHMARKS) == BENCHMARK_RECIPES
    assert set(BENCHMARK_RECIPES) < set(RECIPES_WITH_DATA) < set(RECIPES)


@pytest.mark.parametrize("recipe", BENCHMARK_RECIPES)
def test_a_benchmark_is_trained_as_the_paper_says(recipe):
    config = build_config(recipe, REQUEST)
    assert (config.epochs, config.model.input_hw, config.augment.mosaic) == (600, (640, 640), 1.0)
    assert (config.optimizer.name, config.optimizer.schedule) == ("sgd", "cosine")
    usual = paper(REQUEST)
    assert config == replace(usual, optimizer=replace(usual.optimizer, schedule="cosine"))


def folders(data):
    return [(each.root, each.split, each.kept_classes) for each in getattr(data, "parts", (data,))]


@pytest.mark.parametrize(
    ("recipe", "train", "val"),
    [
        ("coco", [("", "train2017", ())], [("", "val2017", ())]),
        (
            "voc",
            [("/VOCdevkit/VOC2007", "trainval", ()), ("/VOCdevkit/VOC2012", "trainval", ())],
            [("/VOCdevkit/VOC2007", "test", ())],
        ),
        ("visdrone", [("", "train", ())], [("", "val", ())]),
        (
            "kitti",
            [("", "train", ("Car", "Pedestrian", "Cyclist"))],
            [("", "val", ("Car", "Pedestrian", "Cyclist"))],
        ),
        ("sku110k", [("/SKU110K_fixed", "train", ())], [("/SKU110K_fixed", "val", ())]),
    ],
)
def test_data_lies_where_download_puts_it(tmp_path, monkeypatch, recipe, train, val):
    monkeypatch.chdir(tmp_path.parent)
    splits = recipe_splits(recipe, tmp_path.relative_to(tmp_path.parent))  # found from anywhere when resumed
    for data, expected in ((splits.train, train), (splits.val, val)):
        assert folders(data) == [(f"{tmp_path}{within}", split, kept) for within, split, kept in expected]
    options = TrainOptions(run_dir=tmp_path / "run", recipe=recipe, data=tmp_path)
    assert data_configs(options) == splits


@pytest.mark.parametrize("recipe", sorted(set(RECIPES) - set(RECIPES_WITH_DATA)))
def test_other_recipes_take_any_data(tmp_path, recipe):
    assert recipe_splits(recipe, tmp_path) is None
    options = TrainOptions(run_dir=tmp_path, recipe=recipe, data=tmp_path, val_split=None)
    assert data_configs(options) == (FolderConfig(root=str(tmp_path)), None)


@pytest.mark.parametrize(("name", "split"), [("split", "test"), ("val_split", "test"), ("val_split", None)])
def test_from_python_too_a_split_that_would_not_be_read_is_refused(tmp_path, name, split):
    usual = TrainOptions(run_dir=tmp_path)
    asked = replace(usual, **{name: split})
    with pytest.raises(ConfigError, match=f"generated scenes have no splits: .* leave {name} out"):
        data_configs(asked)
    with pytest.raises(ConfigError, match=f"recipe voc trains and measures on .* leave {name} out"):
        data_configs(replace(asked, recipe="voc", data=tmp_path))
    assert data_configs(usual)


@pytest.mark.parametrize(
    ("recipe", "wanted"),
    [
        ("starter", "the folder that holds bccd, aquarium and playing_cards"),
        ("starter-choice", "the folder that holds bccd, aquarium and playing_cards"),
        *((recipe, f"training download {recipe} --to FOLDER` fills") for recipe in BENCHMARK_RECIPES),
    ],
)
def test_without_a_folder_a_recipe_says_which_it_wants(recipe, wanted):
    with pytest.raises(ConfigError, match=wanted):
        recipe_splits(recipe, None)


@pytest.fixture
def voc(tmp_path):
    """VOC as its archives unpack: two years, of which one has a test; each image has two objects."""
    years = {
        "VOC2007": {"trainval": ["000001", "000003"], "test": ["000002"]},
        "VOC2012": {"trainval": ["2008_000001"]},
    }
    for year, splits in years.items():
        folder = tmp_path / "VOCdevkit" / year
        for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (folder / name).mkdir(parents=True)
        for split, stems in splits.items():
            (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(stems))
            for stem in stems:
                write_image(folder / "JPEGImages" / f"{stem}.jpg")
                rare = "sofa" if year == "VOC2007" else "train"
                objects = [("person", 1, 1, 9, 9), (rare, 2, 2, 8, 8)]
                write_xml(folder / "Annotations" / f"{stem}.xml", objects)
    return tmp_path


def test_both_years_of_voc_are_one_data_set_of_its_twenty_classes(voc):
    splits = recipe_splits("voc", voc)
    train, val = open_dataset(splits.train), open_dataset(splits.val)
    assert train.class_names == val.class_names == VOC_CLASSES
    assert len(set(VOC_CLASSES)) == 20
    samples = [train.load(index) for index in range(len(train))]
    assert [sample.name for sample in samples] == ["VOC2007/000001", "VOC2007/000003", "VOC2012/2008_000001"]
    named = [[VOC_CLASSES[each] for each in sample.class_ids] for sample in samples]
    assert named == [["person", "sofa"]] * 2 + [["person", "train"]]
    assert [val.load(index).name for index in range(len(val))] == ["000002"]


def test_of_a_folder_only_the_kept_classes_are_read(voc):
    config = FolderConfig(root=str(voc / "VOCdevkit" / "VOC2007"), split="trainval", kept_classes=("sofa",))
    dataset = open_dataset(config)
    assert dataset.class_names == ("sofa",)
    assert [dataset.load(index).boxes_xyxy.tolist() for index in range(2)] == [[[2, 2, 8, 8]]] * 2


def test_a_checkpoint_is_measured_on_what_its_recipe_validates_on(voc, tmp_path, capsys):
    path = tmp_path / "model.safetensors"
    save_model(path, Detector(model_config("esmoe-n", VOC_CLASSES, (64, 64))), {})
    assert main(["evaluate", str(path), "--recipe", "voc", "--data", str(voc), "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 1
    assert main(["evaluate", str(path), "--recipe", "voc", "--quiet"]) == 1
    assert "recipe voc: give the folder that" in capsys.readouterr().err


def test_of_kitti_every_fifth_image_validates_and_three_classes_are_read(tmp_path):
    line = "{} 0.00 0 0.0 1.0 2.0 9.0 8.0 1.5 1.6 3.9 1.8 1.5 8.4 0.0\n"
    for folder in ("image_2", "label_2"):
        (tmp_path / "training" / folder).mkdir(parents=True)
    for number in range(6):
        write_image(tmp_path / "training" / "image_2" / f"{number:06}.png")
        kinds = ("Cyclist", "Van", "DontCare", "Person_sitting", "Truck", "Car")
        (tmp_path / "training" / "label_2" / f"{number:06}.txt").write_text("".join(map(line.format, kinds)))
    splits = recipe_splits("kitti", tmp_path)
    train, val = open_dataset(splits.train), open_dataset(splits.val)
    assert train.class_names == val.class_names == ("Car", "Pedestrian", "Cyclist")
    assert [val.load(index).name for index in range(len(val))] == ["000000", "000005"]
    assert len(train) == 4
    sample = val.load(0)
    assert [train.class_names[each] for each in sample.class_ids] == ["Cyclist", "Car"]
    ignored = [each if each < 0 else train.class_names[each] for each in sample.ignored_class_ids]
    assert ignored == [ANY_CLASS, "Car", "Pedestrian"], "DontCare, Van and Person_sitting"
    assert val.remarks[ALIKE] == 4


COCO_LABELS = {
    "images": [{"id": 7, "file_name": "1.jpg", "height": 20, "width": 30}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 8, 6], "area": 48, "iscrowd": 0}
    ],
    "categories": [{"id": 3, "name": "car"}],
}


@pytest.mark.parametrize(
    ("recipe", "image", "labels", "text", "class_name"),
    [
        (
            "coco",
            "{}2017/1.jpg",
            "annotations/instances_{}2017.json",
            json.dumps(COCO_LABELS),
            "car",
        ),
        (
            "visdrone",
            "VisDrone2019-DET-{}/images/1.jpg",
            "VisDrone2019-DET-{}/annotations/1.txt",
            "1,2,8,6,1,4,0,0\n1,2,8,6,0,0,0,0\n",
            "car",
        ),
        (
            "sku110k",
            "SKU110K_fixed/images/1.jpg",
            "SKU110K_fixed/annotations/annotations_{}.csv",
            "1.jpg,1,2,9,8,object,30,20\n",
            "object",
        ),
    ],
)
def test_readers_know_the_layouts_that_download_leaves(tmp_path, recipe, image, labels, text, class_name):
    for split in ("train", "val"):
        for name in (image, labels):
            (tmp_path / name.format(split)).parent.mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / image.format(split))
        (tmp_path / labels.format(split)).write_text(text)
    for data in recipe_splits(recipe, tmp_path):
        dataset = open_dataset(data)
        sample = dataset.load(0)
        assert [dataset.class_names[each] for each in sample.class_ids] == [class_name]
        assert sample.boxes_xyxy.tolist() == [[1, 2, 9, 8]]
