import pytest

from tests.unit.training.data.small_data import write_image, write_xml
from training.config import FolderConfig, ScenesConfig
from training.data.open import open_dataset
from training.data.scenes import ScenesDataset
from training.data.voc import VocDataset
from training.data.yolo_txt import YoloTxtDataset
from training.errors import DatasetError


@pytest.fixture
def yolo_root(tmp_path):
    (tmp_path / "data.yaml").write_text("names: [cat, dog]")
    write_image(tmp_path / "train" / "images" / "one.png")
    return tmp_path


def test_a_folder_with_data_yaml_is_yolo(yolo_root):
    assert isinstance(open_dataset(FolderConfig(root=str(yolo_root))), YoloTxtDataset)


def test_a_folder_with_xml_beside_images_is_voc(tmp_path):
    write_image(tmp_path / "train" / "one.png")
    write_xml(tmp_path / "train" / "one.xml", [("ace", 0, 0, 5, 5)])
    assert isinstance(open_dataset(FolderConfig(root=str(tmp_path))), VocDataset)


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


def test_scenes_come_from_their_configuration():
    dataset = open_dataset(ScenesConfig(images=3, seed=5, image_hw=(64, 96)))
    assert isinstance(dataset, ScenesDataset)
    assert (len(dataset), dataset.load(2).image.shape) == (3, (64, 96, 3))


def test_a_folder_of_no_known_format_says_what_was_looked_for(tmp_path):
    with pytest.raises(DatasetError, match=r"data\.yaml.*ImageSets/Main.*xml"):
        open_dataset(FolderConfig(root=str(tmp_path)))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DatasetError, match="nowhere: no such folder"):
        open_dataset(FolderConfig(root=str(tmp_path / "nowhere")))
