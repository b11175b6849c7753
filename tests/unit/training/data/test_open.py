import json

import pytest

from tests.builders import image_bytes
from tests.image_files import deep
from tests.unit.training.data.small_data import write_image, write_xml
from training import data_config
from training.data.open import FORMATS, format_of, open_dataset
from training.data.readers.coco import read_coco
from training.data.readers.kitti import read_kitti
from training.data.readers.sku110k import read_sku110k
from training.data.readers.visdrone import read_visdrone
from training.data.readers.voc import read_voc
from training.data.readers.yolo_txt import read_yolo
from training.data.scenes.scenes import ScenesDataset
from training.data_config import FolderConfig, ScenesConfig
from training.errors import DatasetError


@pytest.fixture
def yolo_root(tmp_path):
    (tmp_path / "data.yaml").write_text("names: [cat, dog]")
    write_image(tmp_path / "train" / "images" / "one.png")
    (tmp_path / "train" / "labels").mkdir()
    (tmp_path / "train" / "labels" / "one.txt").write_text("0 0.5 0.5 1 1")
    return tmp_path


def test_a_folder_with_data_yaml_is_yolo(yolo_root):
    assert format_of(yolo_root, "train").read is read_yolo
    assert open_dataset(FolderConfig(root=str(yolo_root))).class_names == ("cat", "dog")


@pytest.mark.parametrize(("bits", "seen"), [(None, 200), (12, 50)])
@pytest.mark.parametrize("folder", ["train/images", "train/a"])
def test_the_bits_of_deep_images_reach_the_reader(yolo_root, tmp_path, folder, bits, seen):
    root = yolo_root if folder == "train/images" else tmp_path / "classes"
    for name in (folder, "train/b"):  # the second class of an image folder
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / "one.png").write_bytes(image_bytes(deep(800)))
    image = open_dataset(FolderConfig(root=str(root), bits=bits)).load(0).image
    assert image[0, 0].tolist() == [seen] * 3


def test_a_folder_with_xml_beside_images_is_voc(tmp_path):
    write_image(tmp_path / "train" / "one.png")
    write_xml(tmp_path / "train" / "one.xml", [("ace", 0, 0, 5, 5)])
    assert format_of(tmp_path, "train").read is read_voc
    assert open_dataset(FolderConfig(root=str(tmp_path))).class_names == ("ace",)


def test_given_class_names_reach_the_voc_reader(tmp_path):
    write_image(tmp_path / "train" / "one.png")
    write_xml(tmp_path / "train" / "one.xml", [("ace", 0, 0, 5, 5)])
    dataset = open_dataset(FolderConfig(root=str(tmp_path), class_names=("king", "ace")))
    assert dataset.load(0).class_ids.tolist() == [1]


def test_a_folder_with_image_sets_is_voc_even_when_its_labels_are_missing(tmp_path):
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"train\.txt: no such split"):
        open_dataset(FolderConfig(root=str(tmp_path)))


def test_class_names_that_disagree_with_data_yaml_are_refused(yolo_root):
    with pytest.raises(DatasetError, match=r"\['cat', 'dog'\].*\['dog', 'cat'\]"):
        open_dataset(FolderConfig(root=str(yolo_root), class_names=("dog", "cat")))


@pytest.mark.parametrize(
    ("files", "reader", "split"),
    [
        pytest.param(
            {
                "annotations/instances_train2017.json": json.dumps(
                    {
                        "images": [{"id": 1, "file_name": "a.jpg"}],
                        "annotations": [],
                        "categories": [{"id": 1, "name": "cat"}],
                    }
                ),
                "train2017/a.jpg": None,
            },
            read_coco,
            "train",
            id="COCO",
        ),
        pytest.param(
            {"annotations/annotations_val.csv": "a.jpg,1,2,3,4,object,30,20", "images/a.jpg": None},
            read_sku110k,
            "val",
            id="SKU-110K",
        ),
        pytest.param(
            {"training/label_2/a.txt": "", "training/image_2/a.png": None},
            read_kitti,
            "training",
            id="KITTI",
        ),
        pytest.param(
            {
                "VisDrone2019-DET-val/annotations/a.txt": "",
                "VisDrone2019-DET-val/images/a.jpg": None,
            },
            read_visdrone,
            "val",
            id="VisDrone",
        ),
    ],
)
def test_a_format_is_recognised_by_its_official_folders(tmp_path, files, reader, split):
    for name, text in files.items():
        if text is None:
            write_image(tmp_path / name)
        else:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
    dataset = open_dataset(FolderConfig(root=str(tmp_path), split=split))
    assert format_of(tmp_path, split).read is reader
    assert dataset.load(0).name == "a"
    with pytest.raises(DatasetError, match="but the configuration has"):
        open_dataset(FolderConfig(root=str(tmp_path), split=split, class_names=("unicorn",)))


def test_scenes_come_from_their_configuration():
    dataset = open_dataset(ScenesConfig(images=3, seed=5, image_hw=(64, 96)))
    assert isinstance(dataset, ScenesDataset)
    assert (len(dataset), dataset.load(2).image.shape) == (3, (64, 96, 3))


def test_a_folder_of_no_known_format_says_what_was_looked_for(tmp_path):
    with pytest.raises(
        DatasetError, match=r"data\.yaml.*COCO.*SKU-110K.*KITTI.*VisDrone.*ImageSets/Main.*xml"
    ):
        open_dataset(FolderConfig(root=str(tmp_path)))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DatasetError, match="nowhere: no such folder or file"):
        open_dataset(FolderConfig(root=str(tmp_path / "nowhere")))


def test_every_format_has_a_name_for_the_command_line():
    assert tuple(FORMATS) == data_config.FORMATS


def test_a_named_format_is_read_where_the_contents_show_another(yolo_root):
    (yolo_root / "train" / "images").rename(yolo_root / "train" / "cat")
    (yolo_root / "train" / "labels").rename(yolo_root / "labels")
    write_image(yolo_root / "train" / "dog" / "one.png")
    dataset = open_dataset(FolderConfig(root=str(yolo_root), format="images"))
    assert (dataset.class_names, len(dataset)) == (("cat", "dog"), 2)


def test_a_file_that_no_reader_recognises_is_named(tmp_path):
    (tmp_path / "notes.md").write_text("cats")
    with pytest.raises(DatasetError, match=r"notes\.md: no known format; .*--format"):
        open_dataset(FolderConfig(root=str(tmp_path / "notes.md")))


@pytest.mark.parametrize("at", ["train", "train/images", "notes.md"])
def test_a_description_above_is_suggested(yolo_root, at):
    (yolo_root / "notes.md").write_text("cats")
    with pytest.raises(DatasetError, match=r"no known format; did you mean .*data\.yaml\? "):
        open_dataset(FolderConfig(root=str(yolo_root / at)))


@pytest.mark.parametrize("name", ["export.zip", "export.tar.gz", "export.7z"])
def test_an_archive_is_to_be_unpacked(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK")
    for root in (tmp_path / name, tmp_path):
        with pytest.raises(DatasetError, match=f"unpack the archive {name}"):
            open_dataset(FolderConfig(root=str(root)))


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "yolo"])
def test_a_format_that_does_not_fit_a_file_is_refused_by_name(yolo_root, form):
    with pytest.raises(DatasetError, match=r"data\.yaml"):
        open_dataset(FolderConfig(root=str(yolo_root / "data.yaml"), format=form))
