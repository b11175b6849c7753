import logging

import pytest

from tests.unit.training.data.small_data import write_image
from training.data.open import open_dataset
from training.data.readers.yolo_description import describe
from training.data_config import FolderConfig
from training.errors import DatasetError

ROW = "1 0.5 0.5 0.5 0.5\n"


@pytest.fixture
def root(tmp_path):
    """Write one image in images/train and its label in labels/train."""
    write_pair(tmp_path / "set", "images/train/a.png", "labels/train/a.txt")
    return tmp_path / "set"


def write_pair(root, image, label):
    write_image(root / image)
    (root / label).parent.mkdir(parents=True, exist_ok=True)
    (root / label).write_text(ROW)


def opened(root, split="train", **asked):
    return open_dataset(FolderConfig(root=str(root), split=split, **asked))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        pytest.param("names: [cat, dog]", {0: "cat", 1: "dog"}, id="a list"),
        pytest.param("names: {1: dog, 0: cat}", {0: "cat", 1: "dog"}, id="numbered"),
        pytest.param("names:\n  '0': cat\n  1: dog", {0: "cat", 1: "dog"}, id="a number in quotes"),
        pytest.param("names: {0: cat, 7: dog}", {0: "cat", 7: "dog"}, id="with gaps"),
        pytest.param("names: [yes, No, on]", {0: "yes", 1: "No", 2: "on"}, id="truth values"),
        pytest.param(
            "names: [1.50, 0x1F, 1e3, 007]", {0: "1.50", 1: "0x1F", 2: "1e3", 3: "007"}, id="numbers"
        ),
        pytest.param(
            "names: [null, ~, 2024-01-01]", {0: "null", 1: "~", 2: "2024-01-01"}, id="null and dates"
        ),
        pytest.param("names: [cat, dog]\nnc: 2", {0: "cat", 1: "dog"}, id="as many as nc"),
        pytest.param("names: {0: cat, 7: dog}\nnc: 8", {0: "cat", 7: "dog"}, id="nc counts the gaps"),
        pytest.param("names: [cat]\nflip_idx: [0]\ndownload: x", {0: "cat"}, id="keys without a meaning"),
    ],
)
def test_names_are_read_as_they_are_written(root, text, names):
    (root / "data.yaml").write_text(text)
    assert describe(root).names == names


def test_ids_with_gaps_are_those_of_the_rows(root):
    (root / "data.yaml").write_text("names: {1: dog, 7: cat}")
    (root / "labels" / "train" / "a.txt").write_text("7 0.5 0.5 1 1\n1 0.5 0.5 1 1\n3 0.5 0.5 1 1\n")
    dataset = opened(root)
    assert [dataset.class_names[index] for index in dataset.class_ids(0)] == ["cat", "dog"]
    assert any("class 3 has no name" in what for what in dataset.remarks)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("names: [cat", "not YAML", id="not YAML"),
        pytest.param("just text", "must hold keys", id="not a mapping"),
        pytest.param("train: x", "must list the classes", id="no names"),
        pytest.param("names: []", "must list the classes", id="empty names"),
        pytest.param("names: cat", "must list the classes", id="a text"),
        pytest.param("names: {cat: 0}", "each class id its name", id="the wrong way round"),
        pytest.param("names: [cat, '']", "class 1 has no name", id="an empty name"),
        pytest.param("names: [[cat], dog]", "class 0 has no name", id="a list in the list"),
        pytest.param("names: {-1: cat}", "ids begin at 0", id="a negative id"),
        pytest.param("names: {0: cat, 00: dog}", "an id stands twice", id="an id written in two ways"),
        pytest.param("names: " + 2000 * "[", "not YAML", id="too deep"),
        pytest.param("names: [cat, dog, cat]", "classes 0 and 2 are both called cat", id="a name twice"),
        pytest.param("names: {0: cat, 0: dog}", "0 stands twice", id="an id twice"),
        pytest.param("train: a\ntrain: b\nnames: [cat]", "train stands twice", id="a key twice"),
        pytest.param("names: [cat, dog]\nnc: 3", "nc is 3, but there are 2 names", id="nc disagrees"),
        pytest.param("names: [cat]\nnc: many", "nc is many, but", id="nc is no number"),
        pytest.param("names: [cat]\nkpt_shape: 17", "kpt_shape", id="kpt_shape is one number"),
        pytest.param("names: [cat]\nkpt_shape: [a, b]", "kpt_shape", id="kpt_shape is text"),
        pytest.param("names: [cat]\nkpt_shape: [17, 3, 1]", "kpt_shape", id="kpt_shape of three numbers"),
        pytest.param("names: [cat]\nkpt_shape: [0, 3]", "kpt_shape", id="no keypoint"),
        pytest.param("names: [cat]\nkpt_shape: [-1, 2]", "kpt_shape", id="less than no keypoint"),
        pytest.param("names: [cat]\nkpt_shape: [17, 4]", "kpt_shape", id="keypoints of four columns"),
        pytest.param(
            "names: [cat]\ntrain: a\nTrain: b", "capital and small letters", id="a key in two cases"
        ),
        pytest.param("names: [cat]\nval: a\nvalid: b", "val and valid mean the same split", id="val twice"),
        pytest.param("names: [cat]\nvalid: a\nvalidation: [a, b]", "mean the same", id="validation twice"),
        pytest.param("names: [cat]\nchannels: 4", "channels: 4: models take images of 3", id="channels"),
        pytest.param("names: [cat]\ntrain: {a: b}", "train: must be a folder", id="a split of another kind"),
        pytest.param("names: [cat]\npath: [a, b]", "path must be one folder", id="two paths"),
    ],
)
def test_a_data_yaml_that_cannot_work_is_named(root, text, message):
    (root / "data.yaml").write_text(text)
    with pytest.raises(DatasetError, match=rf"data\.yaml: .*{message}|data\.yaml: {message}"):
        describe(root)


@pytest.mark.parametrize("path", ["/content/datasets/mine", "C:\\data\\mine", "../datasets/mine", "mine"])
def test_the_folder_of_data_counts_where_the_path_is_of_another_machine(root, path, caplog):
    (root / "data.yaml").write_text(f"path: {path}\ntrain: images/train\nnames: [cat, dog]")
    assert len(opened(root)) == 1
    assert f"there is no folder {path} here; images are looked for in {root}" in caplog.text


def test_the_folder_of_data_counts_before_a_path_that_exists(root, tmp_path, caplog):
    write_pair(tmp_path / "old", "images/train/b.png", "labels/train/b.txt")
    (root / "data.yaml").write_text(f"path: {tmp_path / 'old'}\ntrain: images/train\nnames: [cat, dog]")
    assert opened(root).load(0).name == "a"
    assert "which --data names, before" in caplog.text
    assert opened(root / "data.yaml").load(0).name == "b"  # a file can be far from its images


@pytest.mark.parametrize("path", ["{tmp}/far", "../far", "{tmp}/set/../far"])
def test_a_path_outside_of_the_folder_counts_where_only_it_has_the_images(root, tmp_path, path):
    write_pair(tmp_path / "far", "pool/b.png", "pool/b.txt")
    (root / "data.yaml").write_text(f"path: {path.format(tmp=tmp_path)}\ntrain: pool\nnames: [cat, dog]")
    assert opened(root).load(0).name == "b"


def test_a_path_inside_the_folder_counts_first(root):
    write_pair(root, "new/images/train/b.png", "new/labels/train/b.txt")
    (root / "data.yaml").write_text("path: new\ntrain: images/train\nnames: [cat, dog]")
    assert opened(root).load(0).name == "b"


@pytest.mark.parametrize(
    "text", ["Train: images/train\nNames: [cat, dog]", "TRAIN: [images/train]\nNAMES: [a, b]"]
)
def test_keys_in_capital_letters_are_read(root, text):
    (root / "data.yaml").write_text(text)
    write_pair(root, "images/val/b.png", "labels/val/b.txt")
    assert len(opened(root)) == 1


@pytest.mark.parametrize("nothing", ["", "null", "''", "None", "~"])
def test_a_split_without_a_value_is_not_declared(root, nothing):
    (root / "data.yaml").write_text(f"train: images/train\nval: {nothing}\nnames: [cat, dog]")
    write_pair(root, "images/val/b.png", "labels/val/b.txt")
    assert opened(root, "val").load(0).name == "b"


@pytest.mark.parametrize(
    "path", ["../lemons/images/train", "My-Project-1/images/train", "./old/images/train/"]
)
def test_a_path_through_the_folder_s_former_name_is_found(root, path, caplog):
    caplog.set_level(logging.INFO)
    (root / "data.yaml").write_text(f"train: {path}\nnames: [cat, dog]")
    assert opened(root).load(0).name == "a"
    assert f"{path} is read from {root / 'images' / 'train'}" in caplog.text


def test_a_missing_folder_is_not_its_subfolder_elsewhere(root):
    (root / "camera").mkdir()
    (root / "data.yaml").write_text("train: camera/images/train\nnames: [cat, dog]")
    with pytest.raises(DatasetError, match="camera/images/train does not exist"):
        opened(root)


def test_keys_that_are_not_read_are_named(root, caplog):
    caplog.set_level(logging.INFO)
    (root / "data.yaml").write_text("names: [cat, dog]\ndownload: http://x/y.zip\nflip_idx: [1]\naugment: 2")
    describe(root)
    assert "data.yaml: not read: augment, download" in caplog.text


@pytest.mark.parametrize("name", ["data.yml", "dataset.yaml", "dataset.yml", "mine.yaml"])
def test_a_description_may_have_another_name(root, name):
    (root / name).write_text("train: images/train\nnames: [cat, dog]")
    (root / "settings.yaml").write_text("colour: red")  # of something else
    assert opened(root).class_names == opened(root / name).class_names == ("cat", "dog")


def test_two_descriptions_with_other_names_are_refused_and_can_be_named(root):
    for name in ("one.yaml", "two.yaml"):
        (root / name).write_text(f"train: images/train\nnames: [{name[:3]}, dog]")
    with pytest.raises(DatasetError, match=r"one\.yaml, two\.yaml all describe a data set; .*--data"):
        opened(root)
    assert opened(root / "two.yaml").class_names == ("two", "dog")


def test_two_usual_descriptions_that_differ_are_refused(root):
    for name in ("data.yaml", "dataset.yaml"):
        (root / name).write_text("train: images/train\nnames: [cat, dog]")
    assert opened(root).class_names == ("cat", "dog")
    (root / "dataset.yaml").write_text("train: images/train\nnames: [dog, cat]")
    with pytest.raises(DatasetError, match=r"data\.yaml, dataset\.yaml all describe a data set"):
        opened(root)
    assert opened(root / "dataset.yaml").class_names == ("dog", "cat")


def test_hidden_files_and_folders_describe_nothing(root):
    (root / "coco.names").write_text("cat\ndog")
    (root / "old.data").mkdir()
    for name in ("._coco.names", "._a.data", "._data.yaml"):  # as macOS packs them into archives
        (root / name).write_bytes(b"\x00\x05\x16\x07\xff")
    assert opened(root).class_names == ("cat", "dog")


@pytest.mark.parametrize("name", ["set.txt", "set.yaml", "set.names", "set.data"])
def test_a_folder_can_be_called_like_a_file(tmp_path, name):
    for split in ("train", "val"):
        write_pair(tmp_path / name, f"images/{split}/{split}.png", f"labels/{split}/{split}.txt")
    (tmp_path / name / "data.yaml").write_text("train: images/train\nnames: [cat, dog]")
    assert [opened(tmp_path / name, split).load(0).name for split in ("train", "val")] == ["train", "val"]


def test_a_file_of_another_kind_is_not_a_list_of_names(root):
    (root / "a.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"a\.json: describes no YOLO data set"):
        opened(root / "a.json", format="yolo")


def darknet(root, *, data="obj.data", listing="data/train.txt", image="data/obj_train_data/a.png"):
    write_pair(root, "obj_train_data/a.png", "obj_train_data/a.txt")
    (root / data).write_text(
        f"classes = 2\ntrain = {listing}\nnames = data/obj.names\n# valid = x\nbackup=b/"
    )
    (root / "obj.names").write_text("cat\ndog\n\n")
    (root / "train.txt").write_text(f"{image}\n")


@pytest.mark.parametrize(
    "written",
    [
        pytest.param({}, id="CVAT, YOLO 1.1"),
        pytest.param({"data": "coco.data", "listing": "train.txt"}, id="another name"),
        pytest.param({"image": "/home/me/darknet/obj_train_data/a.png"}, id="paths of another machine"),
        pytest.param({"image": "obj_train_data/a.png"}, id="paths in this folder"),
        pytest.param({"listing": "/home/me/darknet/train.txt"}, id="a list of another machine"),
        pytest.param({"listing": "C:\\work\\train.txt"}, id="a list of another Windows machine"),
    ],
)
def test_darknet_lists_are_read(tmp_path, written):
    darknet(tmp_path, **written)
    for root in (tmp_path, tmp_path / written.get("data", "obj.data"), tmp_path / "train.txt"):
        dataset = opened(root)
        assert (dataset.class_names, dataset.class_ids(0).tolist()) == (("cat", "dog"), [1])
    with pytest.raises(DatasetError, match=r"no images for split 'val'.*--hold-out 0\.2"):
        opened(tmp_path, "val")


def test_darknet_files_in_a_folder_data_are_read_from_above(tmp_path):
    for name in ("a", "b"):
        write_pair(tmp_path, f"data/obj/{name}.png", f"data/obj/{name}.txt")
    (tmp_path / "data" / "obj.data").write_text(
        "classes=2\ntrain=data/train.txt\nvalid=data/test.txt\nnames=data/obj.names\n"
    )
    (tmp_path / "data" / "obj.names").write_text("cat\ndog")
    (tmp_path / "data" / "train.txt").write_text("data/obj/a.png\n")
    (tmp_path / "data" / "test.txt").write_text("build/darknet/x64/data/obj/b.png\n")
    for root in (tmp_path, tmp_path / "data", tmp_path / "data" / "obj.data"):
        assert [opened(root, split).load(0).name for split in ("train", "val")] == ["a", "b"]


def test_lists_of_images_beside_a_list_of_names_are_the_splits(tmp_path):
    for name in ("a", "b"):
        write_pair(tmp_path, f"data/{name}.png", f"data/{name}.txt")
    (tmp_path / "obj.names").write_text("cat\ndog")
    for split, name in (("train", "a"), ("valid", "b")):
        (tmp_path / f"{split}.txt").write_text(f"data/{name}.png\n")
    assert [len(opened(tmp_path, split)) for split in ("train", "val")] == [1, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(("obj.names", "cat\n"), "classes in obj.data is 2, but there are 1 names", id="classes"),
        pytest.param(("obj.names", None), "no file of class names; looked for", id="no names"),
        pytest.param(("train.txt", "data/gone.png\n"), "none of the 1 images is there", id="no images"),
        pytest.param(("train.txt", None), "does not exist; looked for", id="no list"),
    ],
)
def test_darknet_files_that_disagree_are_named(tmp_path, change, message):
    darknet(tmp_path)
    name, text = change
    if text is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError, match=message):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("image", "label", "classes"),
    [
        pytest.param("images/a.png", "labels/a.txt", "classes.txt", id="Label Studio"),
        pytest.param("a.png", "a.txt", "classes.txt", id="labelImg, all in one folder"),
        pytest.param(
            "train/a.png", "train/a.txt", "train/classes.txt", id="labelImg, a folder for each split"
        ),
        pytest.param("images/a.png", "labels/a.txt", "labels/classes.txt", id="labelImg, labels apart"),
        pytest.param("data/a.png", "data/a.txt", "obj.names", id="FiftyOne, YOLOv4"),
        pytest.param("train/a.png", "train/a.txt", "train/_darknet.labels", id="Roboflow, Darknet"),
        pytest.param("images/a.png", "labels/a.txt", "darknet.labels", id="V7"),
        pytest.param("a.png", "a.txt", "_darknet.labels", id="Roboflow, Darknet, one split"),
    ],
)
def test_a_list_of_names_describes_a_folder_without_data_yaml(tmp_path, image, label, classes):
    write_pair(tmp_path, image, label)
    (tmp_path / classes).write_text("cat\r\ndog\r\n")
    (tmp_path / "notes.json").write_text('{"categories": [{"id": 0, "name": "cat"}]}')
    for root in (tmp_path, tmp_path / classes):
        if root.name != "classes.txt" or root.parent == tmp_path:
            dataset = opened(root)
            assert (dataset.class_names, dataset.class_ids(0).tolist()) == (("cat", "dog"), [1])


def test_lists_of_names_that_disagree_are_refused(tmp_path):
    for split, names in (("train", "cat\ndog"), ("val", "dog\ncat")):
        write_pair(tmp_path, f"{split}/a.png", f"{split}/a.txt")
        (tmp_path / split / "classes.txt").write_text(names)
    with pytest.raises(
        DatasetError, match=r"names \['cat', 'dog'\], but .*val/classes\.txt \['dog', 'cat'\]"
    ):
        opened(tmp_path)


def test_a_folder_without_any_names_says_what_to_write(root):
    with pytest.raises(DatasetError, match=r"no file names the classes; put a data\.yaml .*classes\.txt"):
        opened(root, format="yolo")


def test_a_list_of_classes_beside_class_folders_is_not_yolo(tmp_path):
    for name in ("cat", "dog"):
        write_image(tmp_path / "train" / name / "a.png")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert len(opened(tmp_path)) == 2


def test_darknet_keys_in_capital_letters_are_read_and_others_named(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    darknet(tmp_path)
    write_pair(tmp_path, "obj_Validation_data/b.png", "obj_Validation_data/b.txt")
    (tmp_path / "Validation.txt").write_text("data/obj_Validation_data/b.png\n")
    with (tmp_path / "obj.data").open("a") as file:
        file.write("\nValidation = data/Validation.txt\nanchors = 3\n")
    assert opened(tmp_path, "val").load(0).name == "b"
    assert "obj.data: not read: anchors" in caplog.text


@pytest.mark.parametrize(
    ("name", "split"), [("val.txt", "val"), ("valid.txt", "val"), ("test.txt", "test"), ("mine.txt", "train")]
)
def test_a_list_of_images_is_the_split_of_its_name_and_no_other(root, name, split):
    (root / "data.yaml").write_text("names: [cat, dog]")
    for other in ("train", "val", "test"):
        write_pair(root, f"images/{other}/{other}.png", f"labels/{other}/{other}.txt")
    (root / name).write_text("images/train/a.png")
    assert opened(root / name, split).load(0).name == "a"
    for other in {"train", "val", "test"} - {split}:
        with pytest.raises(DatasetError, match=f"no images are named for split '{other}', only for "):
            opened(root / name, other)


@pytest.mark.parametrize("name", ["classes.txt", "Classes.txt"])
def test_a_list_of_names_can_begin_with_a_capital_letter(root, name):
    (root / name).write_text("cat\ndog")
    assert opened(root / name).class_names == ("cat", "dog")


@pytest.mark.parametrize("name", ["train", "val", "test"])
def test_the_labels_of_an_image_called_like_a_split_are_no_list(tmp_path, name):
    write_pair(tmp_path, f"{name}.png", f"{name}.txt")
    (tmp_path / "classes.txt").write_text("cat\ndog")
    assert opened(tmp_path).class_ids(0).tolist() == [1]
